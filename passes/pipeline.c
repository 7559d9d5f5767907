/* pipeline: the passes of each -O level, in order, to be read aloud. The comment before a stage says what is true
 * from there on.
 * -O0 has the same lowering and tiles as the others, but no graph passes beyond those that legality needs, and no
 * fusion. */
#include "passes/pipeline.h"

static const Pass *const o0[] = {
    &pass_infer,       /* every value has a type; shape arithmetic is constants and Dims */
    &pass_differentiate, /* derivatives are ordinary nodes */
    &pass_dce,         /* what only shapes needed is gone */
    &pass_expand,      /* every op has a lowering */
    &pass_infer,       /* sizes that nodes find have the names that expansion gave them */
    &pass_lower,       /* Kernel IR from here */
    &pass_plan_memory, /* every buffer has its place */
    &pass_barriers,    /* threads wait where one reads, or takes the memory of, what another wrote */
    NULL,
};

static const Pass *const o1[] = {
    &pass_infer,        /* every value has a type; shape arithmetic is constants and Dims */
    &pass_differentiate, /* derivatives are ordinary nodes: first, as what is simplified may be what they are asked for */
    &pass_dce,          /* what only shapes needed is gone */
    &pass_canonicalize, /* the canonical form: each computation has one spelling */
    &pass_fold,         /* what depends on constants only is a constant */
    &pass_infer,        /* constants that folding made may say more about shapes */
    &pass_expand,       /* every op has a lowering */
    &pass_infer,        /* sizes that nodes find have the names that expansion gave them */
    &pass_canonicalize, /* also what expansion made */
    &pass_fold,
    &pass_cse, /* nothing is computed twice */
    &pass_dce,
    &pass_stack_appends, /* state that a model keeps in slices grows in one place */
    &pass_dce,
    &pass_recognize,    /* softmax, norms, activations are operators, however the exporter spelled them */
    &pass_sink_moves,   /* moves stand together, behind what computes element by element */
    &pass_fold_affine,  /* factors and summands per channel are in the weights beside them */
    &pass_fold_pad,     /* convolutions pad for themselves */
    &pass_cut_taps,     /* what a kernel has beyond a small image goes */
    &pass_canonicalize,
    &pass_fold,
    &pass_dce,
    &pass_row_bands,    /* what convolutions hand to each other stays in L2 */
    &pass_group_attention, /* products with a softmax between them are one step */
    &pass_group_epilogue, /* contractions own what follows them element by element; first: it saves most memory traffic */
    &pass_group_row,      /* row operators own what stands around them element by element */
    &pass_group_eltwise,  /* chains of the rest are one nest each */
    &pass_layout,         /* every result has its order in memory */
    &pass_winograd,       /* each convolution knows its algorithm */
    &pass_group_pool,     /* tiles of outputs own the pools that follow */
    &pass_lower,          /* Kernel IR from here */
    &pass_share_tables,   /* what a product has packed is not stored once more */
    &pass_merge_launches, /* what several read at the same places is read once */
    &pass_kernel_simplify,
    &pass_single, /* what is too small to share stays on thread 0 */
    &pass_plan_memory, /* every buffer has its place */
    &pass_barriers,    /* threads wait where one reads, or takes the memory of, what another wrote */
    NULL,
};

static const Pass *const o2[] = {
    &pass_infer, /* as -O1 up to lowering */
    &pass_differentiate,
    &pass_dce,
    &pass_canonicalize,
    &pass_fold,
    &pass_infer,
    &pass_expand,
    &pass_infer,
    &pass_canonicalize,
    &pass_fold,
    &pass_cse,
    &pass_dce,
    &pass_stack_appends,
    &pass_dce,
    &pass_recognize,
    &pass_sink_moves,
    &pass_fold_affine,
    &pass_fold_pad,
    &pass_cut_taps,
    &pass_canonicalize,
    &pass_fold,
    &pass_dce,
    &pass_row_bands,
    &pass_group_attention,
    &pass_group_epilogue,
    &pass_group_row,
    &pass_group_eltwise,
    &pass_layout,
    &pass_winograd,
    &pass_group_pool,
    &pass_lower, /* Kernel IR from here */
    &pass_share_tables,
    &pass_merge_launches, /* what several read at the same places is read once */
    &pass_kernel_simplify,
    &pass_schedule, /* loops are ordered, split and marked for the target */
    &pass_single, /* what is too small to share stays on thread 0 */
    &pass_plan_memory,
    &pass_barriers,
    NULL,
};

const Pass *const *pipeline_of(int opt_level) { return opt_level <= 0 ? o0 : opt_level == 1 ? o1 : o2; }
