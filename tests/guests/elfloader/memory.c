/* memory.c: what is left of the machine's memory. Nothing is ever given back. */
#include "long.h"

/* A program's heap, the brk, is the last quarter. */
static uint64_t next, end, heap, heap_end;

void memory_init(void)
{
	uint64_t start = PAGES(given->image_end), top = given->memory_end - (1 << 20);
	/* The RAM disk is right behind us, or at the end of memory. */
	if (given->disk_start && given->disk_start - start > top - given->disk_end)
		top = given->disk_start;
	else if (given->disk_start)
		start = PAGES(given->disk_end);
	next = start;
	heap = PAGES(top - (top - start) / 4);
	end = heap;
	heap_end = top & ~(PAGE - 1);
}

uint8_t *take(size_t n)
{
	uint8_t *taken = (uint8_t *)next;
	if (n > end - next)
		give_up("out of memory", "");
	next += PAGES(n);
	zero(taken, PAGES(n));
	return taken;
}

uint64_t set_break(uint64_t wanted)
{
	static uint64_t now, most;
	if (!now)
		now = most = heap;
	if (wanted >= heap && wanted <= heap_end) {
		if (wanted > most) {
			zero((void *)most, wanted - most);
			most = wanted;
		}
		now = wanted;
	}
	return now;
}
