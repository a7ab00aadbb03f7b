/* ip6.c: just enough IPv6 to be found and pinged: neighbour solicitations (RFC 4861) and echo (RFC 4443) are answered. */
#include "net.h"

#define HEADER 40
#define ICMP6 58

enum { ECHO = 128, ECHO_REPLY = 129, SOLICITATION = 135, ADVERTISEMENT = 136 };

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
}

/* ADDRESS[/PREFIX], without an IPv4 part: who is on the same link is known from who asks. */
int ip6_parse(const char *text, uint32_t length, uint8_t *address)
{
	uint8_t parts[16] = {0};
	uint32_t at = 0, gap = 17, i = 0;
	while (i < length && text[i] != '/') {
		if (text[i] == ':' && i + 1 < length && text[i + 1] == ':') {
			gap = at;
			i += 2;
			continue;
		}
		if (text[i] == ':')
			i++;
		uint32_t value = 0, digits = 0;
		for (; i < length && hex(text[i]) >= 0; i++, digits++)
			value = value << 4 | (uint32_t)hex(text[i]);
		if (!digits || digits > 4 || at > 14)
			return 0;
		put16(parts + at, value);
		at += 2;
	}
	if (gap > 16 && at != 16)
		return 0;
	gap = gap > 16 ? at : gap;
	zero(address, 16);
	copy(address, parts, gap);
	copy(address + 16 - (at - gap), parts + gap, at - gap);
	return 1;
}

/* Sends a message of this length that was put behind the headers of nic_frame(). */
static void send(struct nic *nic, const uint8_t *mac, const uint8_t *to, uint32_t length)
{
	uint8_t *frame = nic_frame(nic), *p = frame + ETHERNET, *message = p + HEADER, end[8] = {0};
	ethernet_header(nic, frame, mac, 0x86dd);
	put32(p, 0x60000000);
	put16(p + 4, length);
	p[6] = ICMP6;
	p[7] = 255; /* neighbours believe nothing that a router has passed on */
	copy(p + 8, nic->ip6, 16);
	copy(p + 24, to, 16);
	put32(end, length);
	end[7] = ICMP6;
	put16(message + 2, 0);
	*(uint16_t *)(message + 2) = sum_end(sum(message, length, sum(end, 8, sum(p + 8, 32, 0))));
	nic_send(nic, ETHERNET + HEADER + length);
}

void ip6_receive(struct nic *nic, uint8_t *frame, uint32_t length)
{
	const uint8_t *p = frame + ETHERNET, *message = p + HEADER;
	uint32_t size = get16(p + 4);
	if (!nic->has_ip6 || length < ETHERNET + HEADER + 8 || size < 8 || size > length - ETHERNET - HEADER || p[6] != ICMP6)
		return;
	uint8_t *reply = nic_frame(nic);
	if (!reply)
		return;
	reply += ETHERNET + HEADER;
	if (message[0] == SOLICITATION && size >= 24 && same(message + 8, nic->ip6, 16)) {
		zero(reply, 32);
		reply[0] = ADVERTISEMENT;
		reply[4] = 0x60; /* you asked, and forget what you knew */
		copy(reply + 8, nic->ip6, 16);
		reply[24] = 2, reply[25] = 1;
		copy(reply + 26, nic->mac, 6);
		send(nic, frame + 6, p + 8, 32);
	} else if (message[0] == ECHO && same(p + 24, nic->ip6, 16)) {
		copy(reply, message, size);
		reply[0] = ECHO_REPLY;
		send(nic, frame + 6, p + 8, size);
	}
}
