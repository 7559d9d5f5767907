/* rank.h: versions of the model for the ranks of inputs whose rank is not known (design D4). */
#ifndef BMC_PASSES_GRAPH_RANK_H
#define BMC_PASSES_GRAPH_RANK_H
#include "ir/graph/graph.h"

/* Gives the entry graph, not inferred yet, inputs of known rank: the one rank that type-checks, or a choice between
 * versions of the model by the ranks that a run brings. Nothing to do where all ranks are known. false: diagnosed. */
bool rank_specialise(Module *);
/* Behind inference: results whose rank the run decides get RANK_ANY axes and their rank beside them, or the rank that the
 * model declares. false: diagnosed. */
bool rank_results(Module *);

#endif
