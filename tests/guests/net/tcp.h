/*
 * tcp.h: connections. What one sends is known as a whole once its first byte is: some text, then a body, then the end. So
 * nothing is kept for sending it again: any part can be made anew from its place.
 */
#ifndef TCP_H
#define TCP_H

#include "net.h"

enum tcp_state { TCP_FREE, TCP_SYN_SENT, TCP_SYN_RECEIVED, TCP_OPEN, TCP_TIME_WAIT };

struct tcp;

/* Whose connection it is. */
struct tcp_user {
	void (*received)(struct tcp *c, const uint8_t *bytes, uint32_t length);
	void (*ended)(struct tcp *c);                   /* the other side sends no more */
	void (*failed)(struct tcp *c, const char *why); /* it is gone */
};

struct tcp {
	enum tcp_state state;
	const struct tcp_user *user;
	struct nic *nic;
	uint32_t peer;
	uint16_t port, peer_port;
	/* What we send: sequence numbers, and what they are of. */
	uint32_t first; /* our SYN; the first byte is the next */
	uint32_t acknowledged, next, highest;
	uint32_t window, shift, segment; /* what the other side takes: at once, and in a piece */
	char head[512];
	uint32_t head_length, body_length;
	const char *body; /* 0: the pattern */
	int complete;     /* nothing will be added: the end follows */
	/* What we receive. */
	uint32_t expected;
	int acknowledge; /* we owe it */
	int peer_ended;
	/* Time, in jiffies. */
	uint32_t alarm, tries, repeats, last; /* alarm: 0 for none */
	/* The user's own. */
	char text[1024];
	uint32_t text_length, counter;
};

struct tcp *tcp_connect(uint32_t to, uint16_t port, const struct tcp_user *user);
void tcp_drop(struct tcp *c, const char *why);
void tcp_receive(struct nic *nic, uint32_t from, const uint8_t *segment, uint32_t length);
void tcp_poll(void);

/* http.c: what is done with connections that others make to us. */
#define HTTP_PORT 80
extern const struct tcp_user http_user;
void http_start(void);

#endif
