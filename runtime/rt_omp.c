/* rt_omp: OpenMP by its names, for programs that are linked with it. Linking a relocatable object or an archive of a
 * model asks for this table; in a shared object nothing does, and rt_parallel.c looks for the library when the first
 * team starts: opening it takes longer than opening and creating a small model. */
#include "runtime/rt_internal.h"
#ifdef BMC_RT_OPENMP
/* What compilers call for `#pragma omp parallel`; the same in libgomp and libomp. */
extern void GOMP_parallel(void (*fn)(void *), void *arg, unsigned threads, unsigned flags);
extern int omp_get_thread_num(void), omp_get_num_threads(void);
extern void __kmpc_fork_call(void) __attribute__((weak));

const rt_omp rt_omp_linked = {GOMP_parallel, omp_get_thread_num, omp_get_num_threads,
                                (void *)__kmpc_fork_call};
#endif
