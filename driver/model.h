/* model.h: a compiled model in this process: loaded (or compiled to a temporary file first), its inputs made, run. What `bmc run` and `bmc bench` share. */
#ifndef BMC_DRIVER_MODEL_H
#define BMC_DRIVER_MODEL_H
#include "driver/compile.h"
#include "runtime/bmc.h"

typedef struct Loaded {
    const bmc_model *model;
    bmc_ctx *ctx;
    void *handle;
    bmc_value *in, *out;          /* one per port */
    bool *random;                 /* of each input: its values are made up */
    uint64_t load_ns;             /* dlopen + create */
    uint64_t file_bytes;
    bool compiled;                /* just now, from the model: not an artifact that was there */
} Loaded;

/* Loads opt.file (a .so) or compiles it to a temporary .so and loads that; creates a context. false: diagnosed. */
bool model_load(Session *, Loaded *);
void model_unload(Loaded *);
/* A second context of a loaded model with its inputs, for one thread. false: diagnosed. */
bool model_alone(Session *, const Loaded *, Loaded *alone);
/* What symbol k is with these inputs: the extent of an axis, 1 where a tensor of any rank has fewer, or its rank; its lower bound where no input has it. */
int64_t symbol_extent(const bmc_info *, uint32_t k, const bmc_value *in);
/* Fills in[] from --data and --input; `bench` makes up the rest, `run` refuses to. out[] is empty (the runtime provides memory). */
bool model_inputs(Session *, Loaded *);
/* Runs once. false: diagnosed with the runtime's message. */
bool model_run(Session *, Loaded *);
/* Path of the k-th "input"/"output" file of the data folder; NULL when there is none. */
const char *data_file(Session *, const char *what, uint32_t k);
/* How ONNX stores the values of a port. */
ValueProto port_proto(const bmc_port *);
int64_t value_count(const bmc_value *);
uint64_t clock_ns(void);

#endif
