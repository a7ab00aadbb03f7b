/* enter.c: from 32 bits to 64: tables for the first four gigabytes, each address itself, and what the boot loader left. */
#include "guest.h"
#include "share.h"

#define LONG 0x200000u

#define PRESENT 1u
#define WRITE 2u
#define LARGE 0x80u

static uint64_t level4[512] __attribute__((aligned(4096)));
static uint64_t level3[512] __attribute__((aligned(4096)));
static uint64_t level2[4][512] __attribute__((aligned(4096)));

/* What long.h calls struct given. */
static struct {
	uint64_t line, disk_start, disk_end, memory_end, image_end;
} given;

static uint64_t gdt[] = {
	0,
	0x00af9a000000ffff, /* 0x08: code, 64 bits */
	0x00cf92000000ffff, /* 0x10: data */
};

void kernel(void)
{
	static struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) pointer;
#if ELFLOADER == 3
	read_share();
#endif
	pointer.limit = sizeof gdt - 1;
	pointer.base = (uint32_t)gdt;
	level4[0] = (uint32_t)level3 | PRESENT | WRITE;
	for (uint32_t g = 0; g < 4; g++) {
		level3[g] = (uint32_t)level2[g] | PRESENT | WRITE;
		for (uint32_t i = 0; i < 512; i++)
			level2[g][i] = ((uint64_t)(g * 512 + i) << 21) | PRESENT | WRITE | LARGE;
	}
	given.line = (uint32_t)line;
	given.disk_start = disk_start;
	given.disk_end = disk_end;
	given.memory_end = memory_end;
	given.image_end = (uint32_t)image_end;
	__asm__ volatile(
		"lgdt %0\n"
		/* CR4: PAE, and SSE for the program. */
		"movl %%cr4, %%eax\n"
		"orl $0x620, %%eax\n"
		"movl %%eax, %%cr4\n"
		"movl %1, %%cr3\n"
		/* EFER: long mode, and the instruction syscall. */
		"movl $0xc0000080, %%ecx\n"
		"rdmsr\n"
		"orl $0x101, %%eax\n"
		"wrmsr\n"
		/* CR0: paging, no emulation of the floating-point unit. */
		"movl %%cr0, %%eax\n"
		"andl $~4, %%eax\n"
		"orl $0x80000002, %%eax\n"
		"movl %%eax, %%cr0\n"
		"ljmp $0x08, %3\n"
		:
		: "m"(pointer), "r"(level4), "D"(&given), "i"(LONG)
		: "eax", "ecx", "edx", "memory");
	__builtin_unreachable();
}
