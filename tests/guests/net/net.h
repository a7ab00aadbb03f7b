/*
 * net.h: what the files of the network guest have in common.
 *
 *   virtio.c   network cards: frames out and in
 *   ip.c       Ethernet, ARP, IPv4, ICMP
 *   ip6.c      just enough IPv6 to be pinged
 *   udp.c      datagrams: the echo server, and DHCP and DNS of dhcp.c and dns.c
 *   tcp.c      connections
 *   http.c     the server on port 80
 *   client.c   what the command line asks to fetch, resolve and ping
 *   config.c   addresses from the command line
 *   main.c     the order of it all
 *
 * Addresses and ports are in the processor's byte order but in frames. All happens in poll(): nothing is concurrent.
 */
#ifndef NET_H
#define NET_H

#include "guest.h"

#define NICS 4
#define HZ 50
#define MTU 1500
#define ETHERNET 14
#define IPV4 20
#define NAME 64

/* One network card. */
struct nic {
	uint8_t mac[6];
	uint32_t ip, mask, gateway; /* 0: none */
	uint8_t ip6[16];
	int has_ip6;
};

/* virtio.c */
extern struct nic nics[NICS];
extern uint32_t nic_count;
void find_nics(void);
uint8_t *nic_frame(struct nic *nic);
void nic_send(struct nic *nic, uint32_t length);
int nic_receive_all(void);
void nic_flush(void);

/* ip.c */
enum { ICMP = 1, TCP = 6, UDP = 17 };
void ethernet_receive(struct nic *nic, uint8_t *frame, uint32_t length);
void ethernet_header(struct nic *nic, uint8_t *frame, const uint8_t *to, uint16_t type);
uint8_t *ip_payload(struct nic *nic);
void ip_send(struct nic *nic, uint32_t to, uint8_t protocol, uint32_t length);
struct nic *ip_route(uint32_t to);
void arp_announce(struct nic *nic);
int ping(uint32_t to);
uint32_t sum(const void *bytes, uint32_t length, uint32_t before);
uint16_t sum_end(uint32_t sum);
uint16_t sum_transport(uint32_t from, uint32_t to, uint8_t protocol, const uint8_t *segment, uint32_t length);

/* ip6.c */
void ip6_receive(struct nic *nic, uint8_t *frame, uint32_t length);
int ip6_parse(const char *text, uint32_t length, uint8_t *address);

/* udp.c, dhcp.c, dns.c */
void udp_receive(struct nic *nic, uint32_t from, const uint8_t *segment, uint32_t length);
uint8_t *udp_payload(struct nic *nic);
void udp_send(struct nic *nic, uint32_t to, uint16_t from_port, uint16_t to_port, uint32_t length);
void dhcp_receive(const uint8_t *message, uint32_t length);
int dhcp(struct nic *nic);
#define DHCP_CLIENT 68
void dns_receive(const uint8_t *message, uint32_t length);
const char *dns_resolve(const char *name, uint32_t length, uint32_t *address);
#define DNS_CLIENT 49153

/* config.c */
extern char host[NAME];
extern uint32_t dns[2];
int configure(void);
uint32_t ip_parse(const char *text, uint32_t length);
uint32_t number_parse(const char *text, uint32_t length);
void print_ip(uint32_t ip);

/* client.c */
void run_clients(void);

/* main.c */
void poll(void);
int wait_for(volatile int *flag, uint32_t ms);
uint32_t append(char *to, uint32_t at, uint32_t size, const char *text);
uint32_t append_number(char *to, uint32_t at, uint32_t size, uint32_t n);

static inline uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static inline uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) << 16 | get16(p + 2); }

static inline void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

static inline void copy(void *to, const void *from, uint32_t n)
{
	uint32_t words = n / 4, rest = n % 4;
	__asm__ volatile("rep movsl\n\tmov %3, %2\n\trep movsb" : "+D"(to), "+S"(from), "+c"(words) : "r"(rest) : "memory");
}

static inline void zero(void *to, uint32_t n)
{
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(0) : "memory");
}

static inline int same(const void *a, const void *b, uint32_t n)
{
	const uint8_t *p = a, *q = b;
	while (n && *p == *q)
		p++, q++, n--;
	return !n;
}

#endif
