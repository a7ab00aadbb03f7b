/* load.c: a program and its interpreter, copied to where there is room, and the stack that Linux would begin it with. */
#include "long.h"

#define STACK (256ul << 10)

struct header {
	uint8_t ident[16];
	uint16_t type, machine;
	uint32_t version;
	uint64_t entry, phoff, shoff;
	uint32_t flags;
	uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct segment {
	uint32_t type, flags;
	uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

struct image {
	uint64_t base, entry, segments, count;
	const char *interpreter;
};

static struct image load(const char *name, const struct file *file)
{
	const struct header *header = (const void *)file->data;
	const struct segment *segments = (const void *)(file->data + header->phoff);
	struct image image = { 0 };
	uint64_t size = 0;
	if (file->size < sizeof *header || header->ident[0] != 0x7f || header->ident[1] != 'E')
		give_up("Image format not recognized or not supported: ", name);
	if (header->type != 3)
		give_up("ELF executable is not position-independent! ", name);
	for (int i = 0; i < header->phnum; i++)
		if (segments[i].type == 1 && segments[i].vaddr + segments[i].memsz > size)
			size = segments[i].vaddr + segments[i].memsz;
	image.base = (uint64_t)take(size);
	for (int i = 0; i < header->phnum; i++) {
		if (segments[i].type == 1)
			copy((void *)(image.base + segments[i].vaddr), file->data + segments[i].offset, segments[i].filesz);
		if (segments[i].type == 3)
			image.interpreter = (const char *)file->data + segments[i].offset;
	}
	image.entry = image.base + header->entry;
	image.segments = image.base + header->phoff;
	image.count = header->phnum;
	print("ELF program loaded to ");
	print_number(image.base);
	print(": ");
	print(name);
	print("\n");
	return image;
}

static const char *basename(const char *path)
{
	const char *name = path;
	for (; *path; path++)
		if (*path == '/' && path[1])
			name = path + 1;
	return name;
}

void run(const char *path, struct file *file, char **arguments, size_t count)
{
	struct image program = load(path, file), interpreter = { 0 };
	if (program.interpreter) {
		struct file loader;
		if (find(program.interpreter, FOLLOW, &loader) < 0)
			give_up("Failed to load program interpreter ", program.interpreter);
		interpreter = load(program.interpreter, &loader);
	}
	uint8_t *memory = take(STACK);
	static const uint8_t seed[16] = { 0xb0, 0xb0, 0xf0, 0x0d };
	const uint64_t auxiliary[] = {
		3, program.segments, 4, sizeof(struct segment), 5, program.count, 6, PAGE, 7, interpreter.base,
		9, program.entry, 11, 0, 12, 0, 13, 0, 14, 0, 15, (uint64_t)"x86_64", 17, 100, 23, 0,
		25, (uint64_t)seed, 31, (uint64_t)path, 0, 0,
	};
	size_t variables = 0;
	while (environment[variables])
		variables++;
	size_t words = 1 + count + 1 + variables + 1 + sizeof auxiliary / 8;
	uint64_t *stack = (uint64_t *)(((uint64_t)memory + STACK - words * 8) & ~15ul), *at = stack;
	*at++ = count;
	for (size_t i = 0; i < count; i++)
		*at++ = (uint64_t)(i ? arguments[i] : basename(path));
	*at++ = 0;
	for (size_t i = 0; i < variables; i++)
		*at++ = (uint64_t)environment[i];
	*at++ = 0;
	copy(at, auxiliary, sizeof auxiliary);
	jump(interpreter.entry ? interpreter.entry : program.entry, (uint64_t)stack);
}
