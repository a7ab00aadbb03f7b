/*
 * tiny.c: a guest that does what its command line says, for tests of whoever runs it.
 *
 * It prints `tiny: COMMAND LINE` on COM1 and then obeys these words, in this order, whatever the order they came in.
 * Any other word is ignored, so a loader may add its own (Multiboot loaders put the kernel's path in front).
 *
 *   secret=NAME    print the length and the FNV-1a hash of a secret, from fw_cfg and from the RAM disk; may be repeated
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
#include "secret.h"

#define PVPANIC_PORT 0x505
#define PVPANIC_PANICKED 0x1

static uint32_t hz = 50; /* low: an idle guest should cost the host nothing */
static uint32_t tick_ms;
static int power_button = 1;

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
		idle_once();
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

void kernel(void)
{
	uint32_t n;
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
	start_clock(hz);

	const char *at = 0, *name;
	while ((name = next_value(&at, "secret", &n)))
		say_secret(name, n);
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
		debug_exit(n);
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
