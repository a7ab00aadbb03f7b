/*
 * tiny.c: a guest that does what its command line says, for tests of whoever runs it.
 *
 * It prints `tiny: COMMAND LINE` on COM1 and then obeys these words, in this order, whatever the order they came in.
 * Any other word is ignored, so a loader may add its own (Multiboot loaders put the kernel's path in front).
 *
 *   touch=MIB      write to MIB mebibytes of memory
 *   lines=N        print `line 1` to `line N`
 *   flood          print for ever, as fast as it goes
 *   tick, tick=MS  print `tick N` every second, or every MS milliseconds, for as long as it runs
 *   after=MS       wait so long (still ticking, still obeying the power button) before what follows
 *   spin           burn the processor for ever, interrupts off
 *   panic          print `tiny: panic`, tell pvpanic, stop for ever
 *   wild           run an invalid opcode with nobody to handle it: a triple fault, which resets the machine
 *   reboot         reset the machine in the orderly way
 *   exit=N         leave through isa-debug-exit (iobase=0x501,iosize=0x4): QEMU's exit status is 2N+1
 *   poweroff       ACPI power-off
 *   halt           nothing: idle for ever; this is also what happens without a word
 *
 *   ignore-power   do not look at the power button; else it prints `tiny: power button` and powers off
 */
#include <stdint.h>

#define PCI_ABSENT 0xffffffffu

/* The event device of a machine without PCI (microvm): hw/acpi/generic_event_device.h. */
#define GED_EVENT ((volatile uint32_t *)0xfea00000)
#define GED_SLEEP ((volatile uint8_t *)0xfea00200)
#define GED_RESET ((volatile uint8_t *)0xfea00202)
#define GED_EVENT_POWER 0x2
#define GED_SLEEP_S5 (0x20 | 5 << 2)
#define GED_RESET_NOW 0x42

/* The fixed registers of a PC's power management, as offsets from its port base: ACPI 4.8.3. */
#define PM1_STATUS 0
#define PM1_ENABLE 2
#define PM1_CONTROL 4
#define PM1_POWER_BUTTON (1 << 8)
#define PM1_SLEEP_S5 (1 << 13) /* sleep type 0 is S5 on both of QEMU's chipsets */

/* The local APIC, where the PIC's line comes in as LINT0. */
#define APIC_SPURIOUS ((volatile uint32_t *)0xfee000f0)
#define APIC_LINT0 ((volatile uint32_t *)0xfee00350)
#define APIC_ON 0x1ff
#define APIC_EXTINT 0x700

#define PVPANIC_PORT 0x505
#define PVPANIC_PANICKED 0x1
#define DEBUG_EXIT_PORT 0x501
#define COM1 0x3f8
#define PIT_HZ 1193182u
#define MIB (1u << 20)

extern uint8_t image_end[];
void wild(void);
void timer_entry(void);
void spurious_entry(void);
void tiny(uint32_t magic, uint32_t info);

volatile uint32_t jiffies;

static char line[4096]; /* our copy of the command line: `touch` may write over the loader's */
static uint32_t memory_end;
static uint32_t pm_base; /* 0: no PC chipset, so the event device */
static uint32_t hz = 50; /* low: an idle guest should cost the host nothing */
static uint32_t tick_ms;
static int power_button = 1;

/* Ports and the console. */

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

static void put(char c)
{
	while (!(in8(COM1 + 5) & 0x20))
		;
	out8(COM1, (uint8_t)c);
}

static void print(const char *s)
{
	while (*s)
		put(*s++);
}

static void print_number(uint32_t n)
{
	char digits[10];
	int i = 0;
	do
		digits[i++] = (char)('0' + n % 10);
	while (n /= 10);
	while (i)
		put(digits[--i]);
}

static void print_numbered(const char *what, uint32_t n)
{
	print(what);
	print_number(n);
	put('\n');
}

/* The command line. */

/* Is there a word `name`, or `name=...` when `value` is asked for? A bare word where a value may be leaves *value alone. */
static int word(const char *name, uint32_t *value)
{
	const char *p = line;
	while (*p) {
		const char *n = name;
		while (*p == ' ')
			p++;
		while (*n && *p == *n) {
			p++;
			n++;
		}
		if (!*n && (!*p || *p == ' '))
			return 1;
		if (!*n && value && *p == '=' && p[1] >= '0' && p[1] <= '9') {
			uint32_t v = 0;
			for (p++; *p >= '0' && *p <= '9'; p++)
				v = v * 10 + (uint32_t)(*p - '0');
			*value = v;
			return 1;
		}
		while (*p && *p != ' ')
			p++;
	}
	return 0;
}

/* The loader's table: where the command line is, and how much memory. */

static void copy_line(uint32_t from)
{
	const char *p = (const char *)from;
	uint32_t i = 0;
	for (; p && p[i] && i < sizeof line - 1; i++)
		line[i] = p[i];
	line[i] = 0;
}

#ifdef MULTIBOOT
static void read_info(uint32_t magic, const uint32_t *info)
{
	if (magic != 0x2badb002)
		return;
	if (info[0] & 1 << 0)
		memory_end = MIB + info[2] * 1024;
	if (info[0] & 1 << 2)
		copy_line(info[4]);
}
#else
struct pvh_info {
	uint32_t magic, version, flags, modules;
	uint64_t module_list, command_line, acpi, memory_map;
	uint32_t memory_entries;
};

struct pvh_memory {
	uint64_t start, size;
	uint32_t type, reserved;
};

static void read_info(uint32_t magic, const uint32_t *info)
{
	const struct pvh_info *pvh = (const void *)info;
	(void)magic;
	if (pvh->magic != 0x336ec578)
		return;
	if (pvh->version >= 1) {
		const struct pvh_memory *m = (const void *)(uint32_t)pvh->memory_map;
		for (uint32_t i = 0; i < pvh->memory_entries; i++)
			if (m[i].type == 1 && m[i].start <= MIB && m[i].start + m[i].size > MIB)
				memory_end = (uint32_t)(m[i].start + m[i].size);
	}
	copy_line((uint32_t)pvh->command_line);
}
#endif

/* Power. */

static uint32_t pci(uint32_t device, uint32_t function, uint32_t reg)
{
	out32(0xcf8, 0x80000000u | device << 11 | function << 8 | reg);
	return in32(0xcfc);
}

static void pci_set(uint32_t device, uint32_t function, uint32_t reg, uint32_t value)
{
	out32(0xcf8, 0x80000000u | device << 11 | function << 8 | reg);
	out32(0xcfc, value);
}

/* Where power management is, switched on if the firmware did not get to it. */
static void find_power(void)
{
	uint32_t device, function, enable, bit;
	if (pci(0, 0, 0) == PCI_ABSENT)
		return;
	if (pci(31, 0, 0) == 0x29188086) { /* ICH9: q35 */
		device = 31, function = 0, enable = 0x44, bit = 0x80;
	} else if (pci(1, 3, 0) == 0x71138086) { /* PIIX4: pc */
		device = 1, function = 3, enable = 0x80, bit = 0x01;
	} else {
		return;
	}
	if (!(pci(device, function, 0x40) & 0xff80))
		pci_set(device, function, 0x40, 0x600 | 1);
	if (!(pci(device, function, enable) & bit))
		pci_set(device, function, enable, pci(device, function, enable) | bit);
	pm_base = pci(device, function, 0x40) & 0xff80;
	/* QEMU only remembers a press of the button once somebody has asked to know of it. */
	out16((uint16_t)(pm_base + PM1_STATUS), PM1_POWER_BUTTON);
	out16((uint16_t)(pm_base + PM1_ENABLE), PM1_POWER_BUTTON);
}

static int power_pressed(void)
{
	if (pm_base)
		return in16((uint16_t)(pm_base + PM1_STATUS)) & PM1_POWER_BUTTON;
	/* Reading takes the event away. Where there is no such device either, nothing or all ones is read. */
	uint32_t event = *GED_EVENT;
	return event != 0xffffffffu && (event & GED_EVENT_POWER);
}

__attribute__((noreturn)) static void stop(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

__attribute__((noreturn)) static void power_off(void)
{
	if (pm_base)
		out16((uint16_t)(pm_base + PM1_CONTROL), PM1_SLEEP_S5);
	else
		*GED_SLEEP = GED_SLEEP_S5;
	stop();
}

__attribute__((noreturn)) static void reset(void)
{
	if (pm_base)
		out8(0xcf9, 0x06), out8(0x64, 0xfe); /* pc has no reset port: its keyboard controller does it */
	else
		*GED_RESET = GED_RESET_NOW;
	stop();
}

/* Time: the PIT, by way of the PIC, wakes us from hlt `hz` times a second. */

static void start_clock(void)
{
	static uint64_t idt[48];
	static struct {
		uint16_t size;
		uint32_t base;
	} __attribute__((packed)) pointer = {sizeof idt - 1, 0};
	for (int i = 32; i < 48; i++) {
		uint32_t handler = (uint32_t)(i == 32 ? timer_entry : spurious_entry);
		idt[i] = (uint64_t)(handler & 0xffff0000u) << 32 | 0x8e0000080000ull | (handler & 0xffff);
	}
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

/* Idle for `ms` milliseconds, or for ever when 0; ticks and the power button go on. */
static void idle(uint32_t ms)
{
	static uint32_t count;
	uint32_t start = jiffies, tick_at = jiffies;
	uint32_t period = tick_ms * hz / 1000, length = ms * hz / 1000;
	for (;;) {
		if (power_button && power_pressed()) {
			print("tiny: power button\n");
			power_off();
		}
		if (tick_ms && jiffies - tick_at >= period) {
			tick_at += period;
			print_numbered("tick ", ++count);
		}
		if (ms && jiffies - start >= length)
			return;
		__asm__ volatile("sti; hlt; cli");
	}
}

static void touch(uint32_t mib)
{
	uint32_t start = ((uint32_t)image_end + MIB - 1) & ~(MIB - 1);
	uint32_t room = memory_end > start ? (memory_end - start) / MIB : 0;
	if (mib > room) /* beyond it are devices */
		mib = room;
	for (uint32_t p = start; p < start + mib * MIB; p += 4096)
		*(volatile uint32_t *)p = p;
	print_numbered("tiny: touched ", mib);
}

void tiny(uint32_t magic, uint32_t info)
{
	uint32_t n;
	read_info(magic, (const uint32_t *)info);
	find_power();
	print("tiny: ");
	print(line);
	put('\n');

	if (word("ignore-power", 0))
		power_button = 0;
	n = 1000;
	if (word("tick", &n))
		tick_ms = n ? n : 1;
	if (tick_ms && tick_ms < 1000 / hz)
		hz = 1000;
	start_clock();

	if (word("touch", &n))
		touch(n);
	n = 0;
	if (word("lines", &n))
		for (uint32_t i = 1; i <= n; i++)
			print_numbered("line ", i);
	if (word("flood", 0))
		for (n = 1;; n++)
			print_numbered("flood ", n);
	n = 0;
	if (word("after", &n) && n)
		idle(n);
	else if (tick_ms)
		idle(0);

	if (word("spin", 0))
		for (;;)
			__asm__ volatile("");
	if (word("panic", 0)) {
		print("tiny: panic\n");
		out8(PVPANIC_PORT, PVPANIC_PANICKED);
		stop();
	}
	if (word("wild", 0))
		wild();
	if (word("reboot", 0))
		reset();
	n = 0;
	if (word("exit", &n)) {
		out32(DEBUG_EXIT_PORT, n);
		/* Newer QEMU lets us run on for a moment. Still here after that, there is no such device: then do not look
		 * as if we were still at work. */
		tick_ms = 0;
		idle(500);
		print("tiny: no debug-exit device\n");
		power_off();
	}
	if (word("poweroff", 0))
		power_off();
	idle(0);
}
