/* verify.h: shared by verify.c (module, program) and verify_kernel.c. */
#ifndef BMC_IR_KERNEL_VERIFY_H
#define BMC_IR_KERNEL_VERIFY_H
#include "ir/kernel/kir.h"

typedef struct KVerify { KModule *m; const char *after; Arena *arena; bool ok; int shown; } KVerify;

/* E_VERIFY at that place; at most 20 are shown. Returns false. */
bool kverify_error(KVerify *, KLoc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void kverify_kernel(KVerify *, const Kernel *);
/* dims of a buffer or parameter are there, rank and element type are legal. */
bool kverify_shape(KVerify *, KLoc, const char *what, const KBufRec *);

#endif
