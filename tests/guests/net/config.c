/*
 * config.c: addresses from the command line, in the words of those whose place this guest takes:
 *
 *   netdev.ip=IP/PREFIX:GW:DNS0:DNS1:HOST:DOMAIN             Unikraft from 0.16.1 on; the n-th is the n-th card's
 *   netdev.ipv4_addr= netdev.ipv4_gw_addr= netdev.ipv4_subnet_mask=   Unikraft before that, for the first card
 *   ip=IP:SERVER:GW:MASK:HOST:ethN:off:DNS0:DNS1             Linux; without a device the n-th is the n-th card's
 *   ip6=ADDRESS/PREFIX                                       ours; the n-th is the n-th card's
 *   host=NAME                                                ours: a name for where there is no other
 */
#include "net.h"

char host[NAME] = "guest";
uint32_t dns[2];

uint32_t number_parse(const char *text, uint32_t length)
{
	uint32_t n = 0;
	for (; length && *text >= '0' && *text <= '9'; length--)
		n = n * 10 + (uint32_t)(*text++ - '0');
	return n;
}

/* An address in dots; 0 if it is none. */
uint32_t ip_parse(const char *text, uint32_t length)
{
	uint32_t ip = 0, part = 0, digits = 0, dots = 0;
	for (uint32_t i = 0; i <= length; i++) {
		if (i < length && text[i] >= '0' && text[i] <= '9' && digits < 3) {
			part = part * 10 + (uint32_t)(text[i] - '0');
			digits++;
		} else if ((i == length || text[i] == '.') && digits && part < 256 && dots < 4) {
			ip = ip << 8 | part;
			part = digits = 0;
			dots++;
		} else {
			return 0;
		}
	}
	return dots == 4 ? ip : 0;
}

void print_ip(uint32_t ip)
{
	for (int shift = 24; shift >= 0; shift -= 8) {
		print_number(ip >> shift & 0xff);
		if (shift)
			put('.');
	}
}

static uint32_t mask_of(uint32_t prefix) { return prefix ? prefix > 31 ? 0xffffffff : ~0u << (32 - prefix) : 0; }

/* The n-th part of what colons separate. */
static const char *field(const char *text, uint32_t length, uint32_t n, uint32_t *size)
{
	uint32_t i = 0, from;
	for (; n; n--) {
		while (i < length && text[i] != ':')
			i++;
		if (i < length)
			i++;
	}
	for (from = i; i < length && text[i] != ':';)
		i++;
	*size = i - from;
	return text + from;
}

static uint32_t ip_field(const char *text, uint32_t length, uint32_t n)
{
	uint32_t size;
	const char *part = field(text, length, n, &size);
	return ip_parse(part, size);
}

static void set_host(const char *text, uint32_t length)
{
	if (!length || length >= NAME)
		return;
	copy(host, text, length);
	host[length] = 0;
}

static void set_dns(uint32_t first, uint32_t second)
{
	if (!dns[0])
		dns[0] = first, dns[1] = second;
}

static uint32_t configure_unikraft(void)
{
	const char *at = 0, *value, *part;
	uint32_t length, size, slash, n = 0;
	for (; (value = next_value(&at, "netdev.ip", &length)) && n < nic_count; n++) {
		part = field(value, length, 0, &size);
		for (slash = 0; slash < size && part[slash] != '/';)
			slash++;
		nics[n].ip = ip_parse(part, slash);
		nics[n].mask = slash < size ? mask_of(number_parse(part + slash + 1, size - slash - 1)) : mask_of(24);
		nics[n].gateway = ip_field(value, length, 1);
		set_dns(ip_field(value, length, 2), ip_field(value, length, 3));
		part = field(value, length, 4, &size);
		if (!n)
			set_host(part, size);
	}
	return n;
}

static uint32_t configure_old_unikraft(void)
{
	const char *at = 0, *value;
	uint32_t length;
	if (!nic_count || !(value = next_value(&at, "netdev.ipv4_addr", &length)))
		return 0;
	nics[0].ip = ip_parse(value, length);
	at = 0;
	value = next_value(&at, "netdev.ipv4_subnet_mask", &length);
	nics[0].mask = value ? ip_parse(value, length) : mask_of(24);
	at = 0;
	value = next_value(&at, "netdev.ipv4_gw_addr", &length);
	nics[0].gateway = value ? ip_parse(value, length) : 0;
	return 1;
}

static uint32_t configure_linux(void)
{
	const char *at = 0, *value, *part;
	uint32_t length, size, n = 0, next = 0;
	while ((value = next_value(&at, "ip", &length))) {
		uint32_t ip = ip_field(value, length, 0), mask = ip_field(value, length, 3), which = next++;
		part = field(value, length, 5, &size);
		if (size == 4 && same(part, "eth", 3))
			which = (uint32_t)(part[3] - '0');
		if (!ip || which >= nic_count)
			continue;
		nics[which].ip = ip;
		nics[which].mask = mask ? mask : mask_of(24);
		nics[which].gateway = ip_field(value, length, 2);
		set_dns(ip_field(value, length, 7), ip_field(value, length, 8));
		part = field(value, length, 4, &size);
		if (!n++)
			set_host(part, size);
	}
	return n;
}

/* Tells whether the command line says anything of addresses. */
int configure(void)
{
	const char *at = 0, *value;
	uint32_t length;
	if ((value = next_value(&at, "host", &length)))
		set_host(value, length);
	at = 0;
	for (uint32_t n = 0; n < nic_count && (value = next_value(&at, "ip6", &length)); n++)
		nics[n].has_ip6 = ip6_parse(value, length, nics[n].ip6);
	return configure_unikraft() || configure_old_unikraft() || configure_linux();
}
