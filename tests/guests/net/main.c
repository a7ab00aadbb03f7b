/*
 * main.c: a guest that is a server on a network, for tests of whoever connects it.
 *
 * It prints `net: COMMAND LINE`, takes addresses from the command line (config.c), else for its first card by DHCP, else
 * 10.0.2.15, QEMU's own; then prints `net: up HOST IP...` and serves:
 *
 *   ICMP echo; UDP ports 7 and 53, which answer `HOST: ` and what they got; HTTP on port 80 (http.c)
 *
 * Then it does what the command line asks of it as a client (client.c), and at last:
 *
 *   exit=N         leave through isa-debug-exit: QEMU's exit status is 2N+1
 *   poweroff       ACPI power-off
 *
 * Without these it serves on. The power button prints `net: power button` and powers off; `ignore-power` ignores it.
 */
#include "tcp.h"

uint32_t append(char *to, uint32_t at, uint32_t size, const char *text)
{
	while (*text && at + 1 < size)
		to[at++] = *text++;
	to[at] = 0;
	return at;
}

uint32_t append_number(char *to, uint32_t at, uint32_t size, uint32_t n)
{
	char digits[11];
	uint32_t i = sizeof digits - 1;
	digits[i] = 0;
	do
		digits[--i] = (char)('0' + n % 10);
	while (n /= 10);
	return append(to, at, size, digits + i);
}

/* One round: what came, what time brings, what is to be sent; sleeps if nothing came. */
void poll(void)
{
	static uint32_t looked;
	int any = nic_receive_all();
	tcp_poll();
	nic_flush();
	if (looked != jiffies) {
		looked = jiffies;
		if (power_pressed() && !word("ignore-power", 0)) {
			print("net: power button\n");
			power_off();
		}
	}
	if (!any)
		idle_once();
}

/* Serves until the flag is set, at most so long. */
int wait_for(volatile int *flag, uint32_t ms)
{
	uint32_t begun = jiffies;
	while (!*flag && jiffies - begun <= ms * HZ / 1000)
		poll();
	return *flag;
}

void kernel(void)
{
	uint32_t code = 0;
	print("net: ");
	print(line);
	put('\n');
	start_clock(HZ);
	http_start();
	find_nics();
	if (!configure() && nic_count && !dhcp(&nics[0])) {
		nics[0].ip = 0x0a00020f;
		nics[0].mask = 0xffffff00;
		nics[0].gateway = 0x0a000202;
		dns[0] = 0x0a000203;
	}
	for (uint32_t i = 0; i < nic_count; i++)
		arp_announce(&nics[i]);
	nic_flush();
	print("net: up ");
	print(host);
	for (uint32_t i = 0; i < nic_count; i++)
		if (nics[i].ip)
			put(' '), print_ip(nics[i].ip);
	put('\n');

	run_clients();
	if (word("exit", &code)) {
		static volatile int never;
		debug_exit(code);
		wait_for(&never, 500);
		print("net: no debug-exit device\n");
		power_off();
	}
	if (word("poweroff", 0))
		power_off();
	for (;;)
		poll();
}
