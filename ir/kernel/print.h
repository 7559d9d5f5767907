/* print.h: shared by print.c (module, program) and print_kernel.c. */
#ifndef BMC_IR_KERNEL_PRINT_H
#define BMC_IR_KERNEL_PRINT_H
#include "base/map.h"
#include "ir/kernel/kir.h"

/* Names as the text form can carry them: other characters become '_', taken names get a suffix _2, _3, ... A scope is
 * a stack of names. */
typedef struct KScope { Arena *arena; VEC(uint64_t) name; /* hashes */ Map place; /* of a hash: where it stands, or last stood */ } KScope;
void kscope_init(KScope *, Arena *);
const char *kscope_add(KScope *, const char *wish);

/* f32[N,64] of a buffer or parameter, then " strides [...]" when it is not dense. */
void kir_print_shape(Str *, const KModule *, const KBufRec *);
/* A kernel as text; loc_no[KLoc]: number to print for a location, 0: none. NULL: canonical: parameters are p1, p2,
 * ... and the kernel has no name. */
void kir_print_body(Str *, const KModule *, const Kernel *, const uint32_t *loc_no);

#endif
