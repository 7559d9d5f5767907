/* amx_emulator.h: lets code with AMX instructions run where the CPU has none. */
#ifndef BMC_TESTS_UNIT_AMX_EMULATOR_H
#define BMC_TESTS_UNIT_AMX_EMULATOR_H
#include <stdbool.h>

/* Makes AMX instructions work in this process: by the CPU itself (the system is asked for permission), else by carrying them out in a handler of SIGILL.
 * False: not an x86-64. */
bool amx_available(void);
/* How many instructions have been carried out by the handler. */
unsigned long amx_emulated(void);

#endif
