/* secret.h: what the host gave for nobody else to see. */
#include "guest.h"

/* Says of a secret how long it is and what its hash is; not what it is. */
void say_secret(const char *name, uint32_t length);
