/* long.h: what the files that run in 64 bits share. One processor, every address is itself, interrupts are off. */
#ifndef LONG_H
#define LONG_H

#include <stddef.h>
#include <stdint.h>

#define PAGE 4096ul
#define PAGES(n) (((n) + PAGE - 1) & ~(PAGE - 1))

/* What enter.c hands over. */
struct given {
	uint64_t line, disk_start, disk_end, memory_end, image_end;
};
extern const struct given *given;

/* main.c */
void print(const char *s);
void print_some(const char *s, size_t length);
void print_number(uint64_t n);
__attribute__((noreturn)) void leave(uint32_t code);
__attribute__((noreturn)) void give_up(const char *what, const char *which);
size_t length_of(const char *s);
int same(const char *a, const char *b);
void copy(void *to, const void *from, size_t n);
void zero(void *to, size_t n);

/* memory.c */
void memory_init(void);
uint8_t *take(size_t n);
uint64_t set_break(uint64_t wanted);

/* words.c */
#define WORDS 60
size_t split(char *line, char **words, size_t most);
const char *variable(const char *name);
extern char *environment[];

/* files.c: the archive. */
struct file {
	uint8_t *data;
	size_t size;
	uint32_t mode, inode;
};
#define FOLLOW 1
#define NO_FOLLOW 0
void files_init(uint8_t *start, uint8_t *end);
int find(const char *path, int follow, struct file *file);
int change_directory(const char *path);
const char *directory(void);

/* load.c */
__attribute__((noreturn)) void run(const char *path, struct file *file, char **arguments, size_t count);

/* system.c, long.S */
void system_init(void);
__attribute__((noreturn)) void jump(uint64_t entry, uint64_t stack);

#endif
