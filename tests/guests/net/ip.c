/* ip.c: Ethernet, ARP (RFC 826), IPv4 without fragments or options to send (RFC 791), ICMP echo (RFC 792). */
#include "net.h"

#define NEIGHBOURS 128
#define WAITING 16

enum { TYPE_IP = 0x0800, TYPE_ARP = 0x0806, TYPE_IP6 = 0x86dd };
enum { ECHO_REPLY = 0, ECHO = 8 };

struct neighbour {
	struct nic *nic; /* 0: free */
	uint32_t ip;
	uint8_t mac[6];
};

/* Frames that wait for their receiver's hardware address. */
struct waiting {
	struct nic *nic; /* 0: free */
	uint32_t hop, length;
	uint8_t frame[ETHERNET + MTU];
};

static struct neighbour neighbours[NEIGHBOURS];
static struct waiting waiting[WAITING];
static volatile int pong;
static uint32_t pong_from;
static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

/* The one's complement sum, of words in the order they have in memory: its end is right in that order, too. */
uint32_t sum(const void *bytes, uint32_t length, uint32_t before)
{
	const uint8_t *p = bytes;
	uint64_t total = before;
	for (; length >= 4; length -= 4, p += 4)
		total += *(const uint32_t *)p;
	if (length & 2) {
		total += *(const uint16_t *)p;
		p += 2;
	}
	if (length & 1)
		total += *p;
	total = (total & 0xffffffff) + (total >> 32);
	return (uint32_t)((total & 0xffff) + (total >> 16 & 0xffff) + (total >> 32));
}

/* To be stored as it is. */
uint16_t sum_end(uint32_t total)
{
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return (uint16_t)~total;
}

uint16_t sum_transport(uint32_t from, uint32_t to, uint8_t protocol, const uint8_t *segment, uint32_t length)
{
	uint8_t pseudo[12];
	put32(pseudo, from);
	put32(pseudo + 4, to);
	put16(pseudo + 8, protocol);
	put16(pseudo + 10, length);
	return sum_end(sum(segment, length, sum(pseudo, sizeof pseudo, 0)));
}

void ethernet_header(struct nic *nic, uint8_t *frame, const uint8_t *to, uint16_t type)
{
	copy(frame, to, 6);
	copy(frame + 6, nic->mac, 6);
	put16(frame + 12, type);
}

/* ARP. */

static void arp_send(struct nic *nic, uint16_t operation, const uint8_t *to, uint32_t ip)
{
	static const uint8_t kind[6] = {0, 1, 8, 0, 6, 4};
	uint8_t *frame = nic_frame(nic);
	if (!frame)
		return;
	ethernet_header(nic, frame, to, TYPE_ARP);
	uint8_t *p = frame + ETHERNET;
	copy(p, kind, 6);
	put16(p + 6, operation);
	copy(p + 8, nic->mac, 6);
	put32(p + 14, nic->ip);
	copy(p + 18, to, 6);
	put32(p + 24, ip);
	nic_send(nic, ETHERNET + 28);
}

/* Tells everybody: bridges learn where we are, neighbours forget who had the address before. */
void arp_announce(struct nic *nic)
{
	if (nic->ip)
		arp_send(nic, 1, everybody, nic->ip);
}

static struct neighbour *neighbour(struct nic *nic, uint32_t ip)
{
	for (struct neighbour *n = neighbours; n < neighbours + NEIGHBOURS; n++)
		if (n->nic == nic && n->ip == ip)
			return n;
	return 0;
}

static int on_link(const struct nic *nic, uint32_t ip)
{
	return nic->ip && !((nic->ip ^ ip) & nic->mask);
}

/* Remembers who sent us something, so that the answer need not ask. The oldest makes room. */
static void learn(struct nic *nic, uint32_t ip, const uint8_t *mac)
{
	static uint32_t next;
	if (!on_link(nic, ip) || ip == nic->ip)
		return;
	struct neighbour *n = neighbour(nic, ip);
	if (!n)
		n = &neighbours[next++ % NEIGHBOURS];
	n->nic = nic;
	n->ip = ip;
	copy(n->mac, mac, 6);
	for (struct waiting *w = waiting; w < waiting + WAITING; w++) {
		uint8_t *frame;
		if (w->nic != nic || w->hop != ip || !(frame = nic_frame(nic)))
			continue;
		copy(frame, w->frame, w->length);
		copy(frame, mac, 6);
		nic_send(nic, w->length);
		w->nic = 0;
	}
}

static void arp_receive(struct nic *nic, const uint8_t *p, uint32_t length)
{
	if (length < 28 || get16(p + 2) != TYPE_IP)
		return;
	learn(nic, get32(p + 14), p + 8);
	if (get16(p + 6) == 1 && nic->ip && get32(p + 24) == nic->ip && get32(p + 14) != nic->ip)
		arp_send(nic, 2, p + 8, get32(p + 14));
}

/* IPv4. */

/* The card by which an address is reached: one that is on its network, else the first with a gateway. */
struct nic *ip_route(uint32_t to)
{
	for (struct nic *nic = nics; nic < nics + nic_count; nic++)
		if (on_link(nic, to))
			return nic;
	for (struct nic *nic = nics; nic < nics + nic_count; nic++)
		if (nic->ip && nic->gateway)
			return nic;
	return 0;
}

/* Where the payload of the next packet is to be put; 0 while there is no room. */
uint8_t *ip_payload(struct nic *nic)
{
	uint8_t *frame = nic_frame(nic);
	return frame ? frame + ETHERNET + IPV4 : 0;
}

/* Sends what was put there. */
void ip_send(struct nic *nic, uint32_t to, uint8_t protocol, uint32_t length)
{
	static uint16_t id;
	uint8_t *frame = nic_frame(nic), *p = frame + ETHERNET;
	length += IPV4;
	put16(p, 0x4500);
	put16(p + 2, length);
	put16(p + 4, id++);
	put16(p + 6, 0x4000); /* in one piece or not at all */
	p[8] = 64;
	p[9] = protocol;
	put16(p + 10, 0);
	put32(p + 12, nic->ip);
	put32(p + 16, to);
	*(uint16_t *)(p + 10) = sum_end(sum(p, IPV4, 0));
	length += ETHERNET;

	uint32_t hop = on_link(nic, to) ? to : nic->gateway;
	struct neighbour *n = neighbour(nic, hop);
	if (to == 0xffffffff || n) {
		ethernet_header(nic, frame, n ? n->mac : everybody, TYPE_IP);
		nic_send(nic, length);
		return;
	}
	ethernet_header(nic, frame, everybody, TYPE_IP);
	if (!hop)
		return; /* no way there: as if it got lost */
	static uint32_t next;
	struct waiting *w = &waiting[next++ % WAITING];
	w->nic = nic;
	w->hop = hop;
	w->length = length;
	copy(w->frame, frame, length);
	arp_send(nic, 1, everybody, hop);
}

static void icmp_receive(struct nic *nic, uint32_t from, const uint8_t *message, uint32_t length)
{
	if (length < 8 || sum_end(sum(message, length, 0)))
		return;
	if (message[0] == ECHO_REPLY && from == pong_from)
		pong = 1;
	uint8_t *reply = ip_payload(nic);
	if (message[0] != ECHO || !reply)
		return;
	copy(reply, message, length);
	put32(reply, 0);
	*(uint16_t *)(reply + 2) = sum_end(sum(reply, length, 0));
	ip_send(nic, from, ICMP, length);
}

/* Asks whether somebody is there, a few times. */
int ping(uint32_t to)
{
	struct nic *nic = ip_route(to);
	pong = 0;
	pong_from = to;
	for (uint32_t i = 0; nic && i < 5 && !pong; i++) {
		uint8_t *request = ip_payload(nic);
		if (request) {
			zero(request, 64);
			request[0] = ECHO;
			put32(request + 4, i);
			*(uint16_t *)(request + 2) = sum_end(sum(request, 64, 0));
			ip_send(nic, to, ICMP, 64);
		}
		wait_for(&pong, 1000);
	}
	return pong;
}

void tcp_receive(struct nic *nic, uint32_t from, const uint8_t *segment, uint32_t length);

static void ip_receive(struct nic *nic, uint8_t *frame, uint32_t length)
{
	uint8_t *p = frame + ETHERNET;
	uint32_t header = (p[0] & 0xf) * 4u, total = get16(p + 2), from = get32(p + 12), to = get32(p + 16);
	if (length < ETHERNET + IPV4 || p[0] >> 4 != 4 || header < IPV4 || total < header || total > length - ETHERNET)
		return;
	/* Not for us, damaged, or a fragment. A card without an address listens to all: that is DHCP's beginning. */
	if ((nic->ip && to != nic->ip && to != 0xffffffff && to != (nic->ip | ~nic->mask)) || sum_end(sum(p, header, 0)) ||
	    get16(p + 6) & 0x3fff)
		return;
	learn(nic, from, frame + 6);
	const uint8_t *payload = p + header;
	length = total - header;
	if (p[9] == UDP)
		udp_receive(nic, from, payload, length);
	else if (p[9] == TCP && to == nic->ip)
		tcp_receive(nic, from, payload, length);
	else if (p[9] == ICMP && to == nic->ip)
		icmp_receive(nic, from, payload, length);
}

void ethernet_receive(struct nic *nic, uint8_t *frame, uint32_t length)
{
	/* The card passes on whatever the bridge floods. */
	if (!same(frame, nic->mac, 6) && !(frame[0] & 1))
		return;
	switch (get16(frame + 12)) {
	case TYPE_IP: ip_receive(nic, frame, length); break;
	case TYPE_ARP: arp_receive(nic, frame + ETHERNET, length - ETHERNET); break;
	case TYPE_IP6: ip6_receive(nic, frame, length); break;
	default: break;
	}
}
