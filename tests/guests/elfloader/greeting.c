/* greeting.c: a library. */
const char *greeting(void);
const char *greeting(void) { return "hello"; }
