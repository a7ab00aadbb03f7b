/* clock.c: the PIT, by way of the PIC, wakes us from hlt some times a second. */
#include "guest.h"

/* The local APIC, where the PIC's line comes in as LINT0. */
#define APIC_SPURIOUS ((volatile uint32_t *)0xfee000f0)
#define APIC_LINT0 ((volatile uint32_t *)0xfee00350)
#define APIC_ON 0x1ff
#define APIC_EXTINT 0x700

#define PIT_HZ 1193182u
#define PIC_VECTOR 32 /* of line 0 */
#define VECTORS 49    /* the PIC's sixteen, and one for who needs another */

void timer_entry(void);
void spurious_entry(void);

volatile uint32_t jiffies;
static uint64_t idt[VECTORS];

void set_gate(uint32_t vector, void (*handler)(void))
{
	uint32_t at = (uint32_t)handler;
	idt[vector] = (uint64_t)(at & 0xffff0000u) << 32 | 0x8e0000080000ull | (at & 0xffff);
}

/* Lets a line of the PIC through. The second chip hangs on line 2 of the first. */
void open_line(uint32_t n)
{
	if (n < 8) {
		out8(0x21, in8(0x21) & (uint8_t) ~(1u << n));
	} else {
		out8(0xa1, in8(0xa1) & (uint8_t) ~(1u << (n - 8)));
		out8(0x21, in8(0x21) & (uint8_t) ~(1u << 2));
	}
}

void start_clock(uint32_t hz)
{
	static struct {
		uint16_t size;
		uint32_t base;
	} __attribute__((packed)) pointer = {sizeof idt - 1, 0};
	for (uint32_t i = PIC_VECTOR; i < VECTORS; i++)
		set_gate(i, i == PIC_VECTOR ? timer_entry : spurious_entry);
	pointer.base = (uint32_t)idt;
	__asm__ volatile("lidt %0" : : "m"(pointer));

	static const uint8_t words[][2] = {{0x20, 0x11}, {0xa0, 0x11}, {0x21, 32}, {0xa1, 40}, {0x21, 4},
					   {0xa1, 2},    {0x21, 1},    {0xa1, 1},  {0x21, 0xfe}, {0xa1, 0xff}};
	for (uint32_t i = 0; i < sizeof words / sizeof *words; i++)
		out8(words[i][0], words[i][1]);
	/* SeaBIOS lets the PIC through to the processor, qboot leaves that to us. */
	*APIC_SPURIOUS = APIC_ON;
	*APIC_LINT0 = APIC_EXTINT;
	uint32_t divisor = PIT_HZ / hz;
	out8(0x43, 0x34);
	out8(0x40, (uint8_t)divisor);
	out8(0x40, (uint8_t)(divisor >> 8));
}
