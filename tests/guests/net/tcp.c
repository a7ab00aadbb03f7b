/*
 * tcp.c: TCP (RFC 9293) as far as talking to a real one needs: window scaling for what we send, a window of fixed size,
 * lost segments sent again from the first one on. What comes out of order is dropped, and comes again.
 *
 *   SYN_RECEIVED ─┬─> OPEN ──(both ends sent and acknowledged)──> TIME_WAIT ──> FREE
 *   SYN_SENT ─────┘
 *
 * Who closes first makes no difference here: `complete` and `peer_ended` say how far each direction is.
 */
#include "tcp.h"

#define CONNECTIONS 128
#define HEADER 20
#define SEGMENT (MTU - IPV4 - HEADER)
#define WINDOW (128 * 1024u) /* the most that is under way */
#define OUR_WINDOW 65535u
#define PATTERN 64
#define FIRST_ALARM (HZ / 5)
#define MOST_TRIES 8
#define TIME_WAIT (HZ)
#define IDLE (60 * HZ)

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };

static struct tcp connections[CONNECTIONS];

static int before(uint32_t a, uint32_t b) { return (int32_t)(a - b) < 0; }

static uint32_t length_of(const struct tcp *c) { return c->head_length + c->body_length; }

/* A body's bytes without an end: each line of 64 the same, so any place is as good as another. */
static const char *pattern(uint32_t at)
{
	static char text[PATTERN + SEGMENT];
	if (!text[0])
		for (uint32_t i = 0; i < sizeof text; i++)
			text[i] = i % PATTERN == PATTERN - 1 ? '\n' : (char)('0' + i % PATTERN);
	return text + at % PATTERN;
}

static void fill(const struct tcp *c, char *to, uint32_t at, uint32_t length)
{
	if (at < c->head_length) {
		uint32_t n = c->head_length - at < length ? c->head_length - at : length;
		copy(to, c->head + at, n);
		to += n, at += n, length -= n;
	}
	at -= c->head_length;
	if (length)
		copy(to, c->body ? c->body + at : pattern(at), length);
}

/* Sends a segment of what is to be sent; false if there is no room for it now. */
static int send(struct tcp *c, uint8_t flags, uint32_t sequence, uint32_t length)
{
	static const uint8_t options[8] = {2, 4, SEGMENT >> 8, SEGMENT & 0xff, 3, 3, 0, 1};
	uint8_t *p = ip_payload(c->nic);
	if (!p)
		return 0;
	uint32_t header = HEADER;
	if (flags & SYN) {
		copy(p + HEADER, options, sizeof options);
		header += sizeof options;
	}
	if (length)
		fill(c, (char *)p + header, sequence - c->first - 1, length);
	put16(p, c->port);
	put16(p + 2, c->peer_port);
	put32(p + 4, sequence);
	put32(p + 8, flags & ACK ? c->expected : 0);
	p[12] = (uint8_t)(header / 4 << 4);
	p[13] = flags;
	put16(p + 14, OUR_WINDOW);
	put32(p + 16, 0);
	*(uint16_t *)(p + 16) = sum_transport(c->nic->ip, c->peer, TCP, p, header + length);
	ip_send(c->nic, c->peer, TCP, header + length);
	if (flags & ACK)
		c->acknowledge = 0;
	return 1;
}

static void set_alarm(struct tcp *c, uint32_t ticks)
{
	c->alarm = jiffies + ticks;
	if (!c->alarm)
		c->alarm = 1;
}

static void advance(struct tcp *c, uint32_t n)
{
	c->next += n;
	if (before(c->highest, c->next))
		c->highest = c->next;
	if (!c->alarm)
		set_alarm(c, FIRST_ALARM << c->tries);
}

/* Sends what may be sent now: data up to the window, then the end. */
static void pump(struct tcp *c)
{
	while (c->state == TCP_OPEN) {
		uint32_t at = c->next - c->first - 1, under_way = c->next - c->acknowledged;
		if (at > length_of(c))
			return; /* the end is sent, too */
		uint32_t left = length_of(c) - at, window = c->window < WINDOW ? c->window : WINDOW;
		uint32_t room = window > under_way ? window - under_way : 0;
		uint32_t n = left < room ? left : room;
		n = n < c->segment ? n : c->segment;
		int end = c->complete && n == left;
		/* A little later it is a whole segment. */
		if ((n < left && n < c->segment && under_way) || (!n && !end)) {
			/* A window that stays shut is to be asked for. */
			if (left && !under_way && !c->alarm)
				set_alarm(c, FIRST_ALARM);
			return;
		}
		if (!send(c, (uint8_t)(ACK | (end ? FIN : 0) | (n == left ? PSH : 0)), c->next, n))
			return;
		advance(c, n + (uint32_t)end);
	}
}

static void release(struct tcp *c) { c->state = TCP_FREE; }

/* Ends a connection at once. */
void tcp_drop(struct tcp *c, const char *why)
{
	if (c->state == TCP_OPEN || c->state == TCP_SYN_RECEIVED)
		send(c, RST | ACK, c->next, 0);
	release(c);
	if (why)
		c->user->failed(c, why);
}

/* A free place, or that of a connection that is over. */
static struct tcp *place(void)
{
	struct tcp *best = 0;
	for (struct tcp *c = connections; c < connections + CONNECTIONS; c++) {
		if (c->state == TCP_FREE)
			return c;
		if (c->state == TCP_TIME_WAIT && (!best || before(c->last, best->last)))
			best = c;
	}
	return best;
}

static struct tcp *begin(struct nic *nic, uint32_t peer, uint16_t port, uint16_t peer_port, const struct tcp_user *user)
{
	static uint32_t secret;
	struct tcp *c = place();
	if (!c)
		return 0;
	zero(c, sizeof *c);
	c->user = user;
	c->nic = nic;
	c->peer = peer;
	c->port = port;
	c->peer_port = peer_port;
	/* It grows: the number of an earlier connection between the same two is never reached again. */
	c->first = (jiffies << 16) + (secret += 64021);
	c->acknowledged = c->first;
	c->next = c->highest = c->first + 1;
	c->segment = 536;
	c->last = jiffies;
	set_alarm(c, FIRST_ALARM);
	return c;
}

struct tcp *tcp_connect(uint32_t to, uint16_t port, const struct tcp_user *user)
{
	static uint16_t from;
	struct nic *nic = ip_route(to);
	struct tcp *c = nic ? begin(nic, to, (uint16_t)(50000 + from++ % 10000), port, user) : 0;
	if (!c)
		return 0;
	c->state = TCP_SYN_SENT;
	send(c, SYN, c->first, 0);
	return c;
}

static void read_options(struct tcp *c, const uint8_t *segment, uint32_t header)
{
	for (uint32_t i = HEADER; i < header && segment[i];) {
		if (segment[i] == 1) {
			i++;
			continue;
		}
		if (i + 1 >= header || segment[i + 1] < 2 || i + segment[i + 1] > header)
			return;
		if (segment[i] == 2 && segment[i + 1] == 4)
			c->segment = get16(segment + i + 2);
		else if (segment[i] == 3 && segment[i + 1] == 3)
			c->shift = segment[i + 2] < 14 ? segment[i + 2] : 14;
		i += segment[i + 1];
	}
	if (c->segment > SEGMENT || c->segment < 64)
		c->segment = SEGMENT;
}

/* To a segment that belongs to no connection. */
static void refuse(struct nic *nic, uint32_t from, const uint8_t *segment, uint32_t length)
{
	struct tcp c = {.nic = nic, .peer = from, .port = get16(segment + 2), .peer_port = get16(segment)};
	c.expected = get32(segment + 4) + length + ((segment[13] & SYN) != 0) + ((segment[13] & FIN) != 0);
	if (segment[13] & ACK)
		send(&c, RST, get32(segment + 8), 0);
	else
		send(&c, RST | ACK, 0, 0);
}

/* What the other side has of ours. */
static void take_acknowledgement(struct tcp *c, const uint8_t *segment, uint32_t length)
{
	uint32_t ack = get32(segment + 8), window = (uint32_t)get16(segment + 14) << c->shift;
	if (before(c->acknowledged, ack) && !before(c->highest, ack)) {
		c->acknowledged = ack;
		if (before(c->next, ack))
			c->next = ack;
		c->tries = c->repeats = c->alarm = 0;
		if (ack != c->next)
			set_alarm(c, FIRST_ALARM);
	} else if (ack == c->acknowledged && !length && c->next != ack && window == c->window && ++c->repeats == 3) {
		/* Three say the same: one got lost. */
		c->next = ack;
	}
	c->window = window;
}

static void take_data(struct tcp *c, const uint8_t *bytes, uint32_t length, uint32_t sequence, int end)
{
	if (length || end)
		c->acknowledge = 1;
	/* Something we have already, and perhaps more behind it. */
	if (before(sequence, c->expected)) {
		uint32_t known = c->expected - sequence;
		if (known > length)
			return;
		bytes += known, length -= known, sequence += known;
	}
	if (sequence != c->expected) {
		send(c, ACK, c->next, 0); /* now: the other side counts these */
		return;
	}
	if (c->peer_ended)
		return;
	c->expected += length + (uint32_t)end;
	if (length)
		c->user->received(c, bytes, length);
	if (end && c->state == TCP_OPEN) {
		c->peer_ended = 1;
		c->user->ended(c);
	}
}

void tcp_receive(struct nic *nic, uint32_t from, const uint8_t *segment, uint32_t length)
{
	if (length < HEADER || sum_transport(from, nic->ip, TCP, segment, length))
		return;
	uint32_t header = (segment[12] >> 4) * 4u, sequence = get32(segment + 4);
	uint8_t flags = segment[13];
	if (header < HEADER || header > length)
		return;
	length -= header;

	struct tcp *c = connections;
	while (c < connections + CONNECTIONS && !(c->state && c->peer == from && c->nic == nic && c->port == get16(segment + 2) &&
						  c->peer_port == get16(segment)))
		c++;
	if (c == connections + CONNECTIONS)
		c = 0;
	if (c && c->state == TCP_TIME_WAIT && flags & SYN) {
		release(c);
		c = 0;
	}
	if (!c) {
		if ((flags & (SYN | ACK | RST)) == SYN && get16(segment + 2) == HTTP_PORT) {
			/* With no place left it is as if the question got lost: it comes again. */
			c = begin(nic, from, HTTP_PORT, get16(segment), &http_user);
			if (!c)
				return;
			c->state = TCP_SYN_RECEIVED;
			c->expected = sequence + 1;
			c->window = get16(segment + 14);
			read_options(c, segment, header);
			send(c, SYN | ACK, c->first, 0);
		} else if (!(flags & RST)) {
			refuse(nic, from, segment, length);
		}
		return;
	}
	c->last = jiffies;
	if (c->state == TCP_SYN_SENT) {
		if (!(flags & ACK) || get32(segment + 8) != c->first + 1)
			return;
		if (flags & RST) {
			tcp_drop(c, "connection refused");
			return;
		}
		if (!(flags & SYN))
			return;
		c->expected = ++sequence;
		read_options(c, segment, header);
		c->acknowledge = 1;
		flags &= (uint8_t)~SYN;
	} else if (flags & RST) {
		if (sequence == c->expected) {
			release(c);
			c->user->failed(c, "connection reset");
		}
		return;
	} else if (flags & SYN) {
		/* Sent again: our answer to it got lost. */
		send(c, (uint8_t)(c->state == TCP_SYN_RECEIVED ? SYN | ACK : ACK),
		     c->state == TCP_SYN_RECEIVED ? c->first : c->next, 0);
		return;
	}
	if (!(flags & ACK))
		return;
	take_acknowledgement(c, segment, length);
	if (c->state != TCP_TIME_WAIT && c->acknowledged != c->first)
		c->state = TCP_OPEN;
	if (c->state == TCP_OPEN || c->state == TCP_TIME_WAIT)
		take_data(c, segment + header, length, sequence, (flags & FIN) != 0);
	if (c->state == TCP_OPEN && c->peer_ended && c->acknowledged == c->first + length_of(c) + 2)
		c->state = TCP_TIME_WAIT;
}

static void ring(struct tcp *c)
{
	c->alarm = 0;
	if (++c->tries > MOST_TRIES) {
		tcp_drop(c, c->state == TCP_SYN_SENT ? "no answer" : "connection timed out");
		return;
	}
	set_alarm(c, FIRST_ALARM << c->tries);
	if (c->state == TCP_SYN_SENT) {
		send(c, SYN, c->first, 0);
	} else if (c->state == TCP_SYN_RECEIVED) {
		send(c, SYN | ACK, c->first, 0);
	} else {
		/* From the first one on that was not acknowledged; at least a byte of it, whatever the window. */
		c->next = c->acknowledged;
		if (!c->window)
			c->window = 1;
	}
}

/* Once in a round, after what came: time, then what is to be sent because of either. */
void tcp_poll(void)
{
	for (struct tcp *c = connections; c < connections + CONNECTIONS; c++) {
		if (!c->state)
			continue;
		if (c->state == TCP_TIME_WAIT ? jiffies - c->last > TIME_WAIT : jiffies - c->last > IDLE) {
			tcp_drop(c, c->state == TCP_TIME_WAIT ? 0 : "connection timed out");
			continue;
		}
		if (c->state != TCP_TIME_WAIT && c->alarm && !before(jiffies, c->alarm))
			ring(c);
		pump(c);
		if (c->acknowledge && c->state)
			send(c, ACK, c->next, 0);
	}
}
