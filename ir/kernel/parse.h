/* parse.h: shared by parse.c (module, program) and parse_kernel.c. */
#ifndef BMC_IR_KERNEL_PARSE_H
#define BMC_IR_KERNEL_PARSE_H
#include "ir/kernel/build.h"
#include "ir/lex.h"

typedef struct KNamed { Name name; uint32_t i; } KNamed;
typedef struct KParse {
    Lex x;
    KModule *m;
    VEC(KNamed) buf, loc;      /* names in the text -> buffers; numbers in the text -> locations */
} KParse;

bool kparse_kernel(KParse *);                    /* behind the word `kernel` */
bool kparse_loc(KParse *, KLoc *);               /* [loc n] */
/* f32[N,64] [strides [a,b]] into elem, rank, dim, stride, dense. */
bool kparse_shape(KParse *, KBufRec *);

#endif
