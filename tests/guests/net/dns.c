/* dns.c: what address a name has (RFC 1035): one question for an A record, to the servers we were told of. */
#include "net.h"

#define HEADER 12
#define TYPE_A 1

static struct {
	volatile int came;
	uint16_t id;
	uint32_t code, address; /* 0: no such record */
} answer;

/* Behind the name at `at`; beyond the message if it is damaged. */
static uint32_t skip_name(const uint8_t *m, uint32_t length, uint32_t at)
{
	while (at < length && m[at]) {
		if (m[at] >> 6 == 3) /* the rest is elsewhere */
			return at + 2;
		at += m[at] + 1u;
	}
	return at + 1;
}

void dns_receive(const uint8_t *m, uint32_t length)
{
	if (length < HEADER || get16(m) != answer.id || !(m[2] & 0x80))
		return;
	uint32_t at = HEADER, questions = get16(m + 4), answers = get16(m + 6);
	while (questions--)
		at = skip_name(m, length, at) + 4;
	answer.code = m[3] & 0xf;
	answer.address = 0;
	while (answers-- && !answer.address) {
		at = skip_name(m, length, at);
		if (at + 10 > length)
			break;
		uint32_t size = get16(m + at + 8);
		if (get16(m + at) == TYPE_A && size == 4 && at + 14 <= length)
			answer.address = get32(m + at + 10);
		at += 10 + size;
	}
	answer.came = 1;
}

/* A question; the name's length is known to fit. */
static void ask(struct nic *nic, uint32_t server, const char *name, uint32_t length)
{
	uint8_t *m = udp_payload(nic);
	if (!m)
		return;
	zero(m, HEADER);
	put16(m, answer.id);
	m[2] = 1; /* ask others, if need be */
	put16(m + 4, 1);
	uint8_t *p = m + HEADER, *label = p++;
	for (uint32_t i = 0; i < length; i++) {
		if (name[i] == '.') {
			*label = (uint8_t)(p - label - 1);
			label = p++;
		} else {
			*p++ = (uint8_t)name[i];
		}
	}
	*label = (uint8_t)(p - label - 1);
	if (*label)
		*p++ = 0;
	put16(p, TYPE_A);
	put16(p + 2, 1);
	udp_send(nic, server, DNS_CLIENT, 53, (uint32_t)(p + 4 - m));
}

/* Finds the address of a name; returns 0, or what was wrong. */
const char *dns_resolve(const char *name, uint32_t length, uint32_t *address)
{
	uint32_t server = dns[0] ? dns[0] : dns[1];
	if ((*address = ip_parse(name, length)))
		return 0;
	if (!server)
		return "no name server";
	if (!length || length > 253)
		return "not a name";
	for (int i = 0; i < 6; i++) {
		struct nic *nic = ip_route(server);
		if (!nic)
			return "no route to the name server";
		answer.id++;
		answer.came = 0;
		ask(nic, server, name, length);
		if (wait_for(&answer.came, 1000)) {
			*address = answer.address;
			return answer.address ? 0 : answer.code == 3 ? "no such name" : answer.code ? "refused by the name server" : "no address";
		}
		server = dns[1] && server == dns[0] ? dns[1] : dns[0] ? dns[0] : dns[1];
	}
	return "the name server does not answer";
}
