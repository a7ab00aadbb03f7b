/*
 * guest.h: what the kernels here share. One processor, 32-bit protected mode, no paging; interrupts are off but in idle().
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdint.h>

#define MIB (1u << 20)

/* The kernel's own entry; must not return. */
void kernel(void);

/* Ports. */

static inline void out8(uint16_t port, uint8_t v) { __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port)); }
static inline void out16(uint16_t port, uint16_t v) { __asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port)); }
static inline void out32(uint16_t port, uint32_t v) { __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port)); }

static inline uint8_t in8(uint16_t port)
{
	uint8_t v;
	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint16_t in16(uint16_t port)
{
	uint16_t v;
	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint32_t in32(uint16_t port)
{
	uint32_t v;
	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

/* console.c: COM1. */
void put(char c);
void print(const char *s);
void print_some(const char *s, uint32_t length);
void print_number(uint32_t n);
void print_hex(uint32_t n);
void print_numbered(const char *what, uint32_t n);

/* loader.c: what the loader left. */
extern uint8_t image_end[];
extern uint32_t memory_end;
extern char line[4096]; /* our copy of the command line: the loader's may be written over */

extern uint32_t disk_start, disk_end; /* the RAM disk; 0 if there is none */

/* words.c: the command line's words. */
int word(const char *name, uint32_t *value);
const char *next_value(const char **at, const char *name, uint32_t *length);

/* power.c: PCI's configuration, and the power button. */
#define PCI_ABSENT 0xffffffffu
uint32_t pci(uint32_t device, uint32_t function, uint32_t reg);
void pci_set(uint32_t device, uint32_t function, uint32_t reg, uint32_t value);
void find_power(void);
int power_pressed(void);
__attribute__((noreturn)) void stop(void);
__attribute__((noreturn)) void power_off(void);
__attribute__((noreturn)) void reset(void);
void debug_exit(uint32_t code);

/* clock.c: time, and interrupts at all. */
extern volatile uint32_t jiffies;
void start_clock(uint32_t hz);
void set_gate(uint32_t vector, void (*handler)(void));
void open_line(uint32_t line);

/* Sleeps until an interrupt. One that came since the last look wakes at once: interrupts were off. */
static inline void idle_once(void) { __asm__ volatile("sti; hlt; cli" : : : "memory"); }

/* boot.S */
void wild(void);

#endif
