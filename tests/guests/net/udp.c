/* udp.c: datagrams (RFC 768): an echo server that says whose it is, and the ports of our own questions. */
#include "net.h"

#define HEADER 8
#define ECHO_PORT 7
#define DOMAIN_PORT 53 /* so that a test of published ports can use a well-known one */

uint8_t *udp_payload(struct nic *nic)
{
	uint8_t *p = ip_payload(nic);
	return p ? p + HEADER : 0;
}

/* Sends what was put at udp_payload(). */
void udp_send(struct nic *nic, uint32_t to, uint16_t from_port, uint16_t to_port, uint32_t length)
{
	uint8_t *p = ip_payload(nic);
	length += HEADER;
	put16(p, from_port);
	put16(p + 2, to_port);
	put16(p + 4, length);
	put16(p + 6, 0);
	uint16_t check = sum_transport(nic->ip, to, UDP, p, length);
	*(uint16_t *)(p + 6) = check ? check : 0xffff; /* 0 would say that there is none */
	ip_send(nic, to, UDP, length);
}

static void echo(struct nic *nic, uint32_t from, const uint8_t *segment, uint32_t length)
{
	char *reply = (char *)udp_payload(nic);
	if (!reply)
		return;
	uint32_t at = append(reply, 0, MTU, host);
	at = append(reply, at, MTU, ": ");
	if (at + length > MTU - IPV4 - HEADER)
		length = MTU - IPV4 - HEADER - at;
	copy(reply + at, segment + HEADER, length);
	udp_send(nic, from, get16(segment + 2), get16(segment), at + length);
}

void udp_receive(struct nic *nic, uint32_t from, const uint8_t *segment, uint32_t length)
{
	if (length < HEADER || get16(segment + 4) < HEADER || get16(segment + 4) > length)
		return;
	length = get16(segment + 4) - HEADER;
	/* The cards check what comes from outside the machine, and nothing else can damage it. */
	switch (get16(segment + 2)) {
	case ECHO_PORT:
	case DOMAIN_PORT:
		if (nic->ip)
			echo(nic, from, segment, length);
		break;
	case DHCP_CLIENT: dhcp_receive(segment + HEADER, length); break;
	case DNS_CLIENT: dns_receive(segment + HEADER, length); break;
	default: break;
	}
}
