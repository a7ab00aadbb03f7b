/*
 * show.c: a program for Linux that shows what it was given: `argument [A]` for each, `variable [K=V]` for each, `directory
 * [D]`, and at last `show: done`. Then it ends with the status in the variable STATUS, or waits for ever without one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

extern char **environ;
#ifdef LIBRARY
const char *greeting(void);
#endif

int main(int argc, char **argv)
{
	char directory[4096];
	for (int i = 0; i < argc; i++)
		printf("argument [%s]\n", argv[i]);
	for (char **variable = environ; *variable; variable++)
		printf("variable [%s]\n", *variable);
	if (getcwd(directory, sizeof directory))
		printf("directory [%s]\n", directory);
#ifdef LIBRARY
	printf("library [%s]\n", greeting());
#endif
	printf("show: done\n");
	fflush(stdout);
	const char *status = getenv("STATUS");
	if (status)
		return atoi(status);
	for (;;)
		pause();
}
