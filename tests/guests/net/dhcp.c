/* dhcp.c: an address from who gives them (RFC 2131), for a card that the command line does not mention. */
#include "net.h"

#define MESSAGE 300 /* some servers drop shorter ones */
#define OPTIONS 240
#define TRANSACTION 0x6b726166
#define SERVER 67

enum { DISCOVER = 1, OFFER, REQUEST, ACK = 5 };
enum { MASK = 1, ROUTER = 3, DNS_SERVER = 6, HOST_NAME = 12, WANTED = 50, KIND = 53, SERVER_ID = 54, ASKED = 55, END = 255 };

static struct {
	volatile int came;
	int kind;
	uint32_t ip, mask, gateway, dns, server;
} answer;

static void ask(struct nic *nic, uint8_t kind)
{
	uint8_t *m = udp_payload(nic);
	if (!m)
		return;
	zero(m, MESSAGE);
	m[0] = 1, m[1] = 1, m[2] = 6;
	put32(m + 4, TRANSACTION);
	m[10] = 0x80; /* answer to everybody: we have no address yet */
	copy(m + 28, nic->mac, 6);
	put32(m + 236, 0x63825363);
	uint8_t *o = m + OPTIONS;
	*o++ = KIND, *o++ = 1, *o++ = kind;
	if (kind == REQUEST) {
		*o++ = WANTED, *o++ = 4, put32(o, answer.ip), o += 4;
		*o++ = SERVER_ID, *o++ = 4, put32(o, answer.server), o += 4;
	}
	*o++ = ASKED, *o++ = 4, *o++ = MASK, *o++ = ROUTER, *o++ = DNS_SERVER, *o++ = HOST_NAME;
	*o = END;
	answer.came = 0;
	udp_send(nic, 0xffffffff, DHCP_CLIENT, SERVER, MESSAGE);
}

void dhcp_receive(const uint8_t *m, uint32_t length)
{
	if (length < OPTIONS || m[0] != 2 || get32(m + 4) != TRANSACTION)
		return;
	answer.ip = get32(m + 16);
	for (uint32_t i = OPTIONS; i + 2 <= length && m[i] != END && i + 2 + m[i + 1] <= length;) {
		const uint8_t *value = m + i + 2;
		uint32_t size = m[i + 1];
		if (!m[i]) { /* padding has no length */
			i++;
			continue;
		}
		if (m[i] == KIND && size == 1)
			answer.kind = *value;
		else if (m[i] == HOST_NAME && size < NAME)
			copy(host, value, size), host[size] = 0;
		else if (m[i] == MASK && size == 4)
			answer.mask = get32(value);
		else if (m[i] == ROUTER && size >= 4)
			answer.gateway = get32(value);
		else if (m[i] == DNS_SERVER && size >= 4)
			answer.dns = get32(value);
		else if (m[i] == SERVER_ID && size == 4)
			answer.server = get32(value);
		i += 2 + size;
	}
	answer.came = 1;
}

static int exchange(struct nic *nic, uint8_t kind, int wanted)
{
	for (int i = 0; i < 3; i++) {
		ask(nic, kind);
		if (wait_for(&answer.came, 500) && answer.kind == wanted)
			return 1;
	}
	return 0;
}

int dhcp(struct nic *nic)
{
	if (!exchange(nic, DISCOVER, OFFER) || !exchange(nic, REQUEST, ACK))
		return 0;
	nic->ip = answer.ip;
	nic->mask = answer.mask;
	nic->gateway = answer.gateway;
	dns[0] = answer.dns;
	return 1;
}
