/*
 * client.c: what the command line asks for, in the order of its words, each kind after the other:
 *
 *   ping=IP                        prints `ping IP: ok` or `ping IP: no answer`
 *   resolve=NAME                   prints `resolve NAME: IP` or `resolve NAME: failed WHY`
 *   fetch=[http://]HOST[:PORT][/PATH]
 *                                  prints `fetch ...: BODY`, the first line of it, or `fetch ...: failed WHY`
 *
 * A connection that is refused or not answered is tried again a few times: the other side may not be up yet.
 */
#include "tcp.h"

#define ATTEMPTS 20
#define PAUSE 500
#define PATIENCE (30 * HZ) /* no attempt begins later than this */

static struct {
	volatile int done;
	const char *failure; /* 0: none */
	int body;            /* the header is over */
	uint32_t newline;    /* how much of the header's end was seen */
	char text[256];
	uint32_t length;
} fetch;

static void received(struct tcp *c, const uint8_t *bytes, uint32_t length)
{
	(void)c;
	for (; length; bytes++, length--) {
		if (fetch.body) {
			if (fetch.length < sizeof fetch.text - 1)
				fetch.text[fetch.length++] = (char)*bytes;
		} else if (*bytes == '\n') {
			fetch.body = ++fetch.newline == 2;
		} else if (*bytes != '\r') {
			fetch.newline = 0;
		}
	}
}

static void ended(struct tcp *c)
{
	c->complete = 1;
	fetch.done = 1;
	fetch.failure = fetch.body ? 0 : "no whole answer";
}

static void failed(struct tcp *c, const char *why)
{
	(void)c;
	if (fetch.done)
		return;
	fetch.done = 1;
	fetch.failure = why;
}

static const struct tcp_user user = {received, ended, failed};

static void attempt(uint32_t address, uint16_t port, const char *name, uint32_t name_length, const char *path, uint32_t length)
{
	zero(&fetch, sizeof fetch);
	struct tcp *c = tcp_connect(address, port, &user);
	if (!c) {
		fetch.failure = "no route";
		return;
	}
	uint32_t n = append(c->head, 0, sizeof c->head, "GET ");
	if (!length)
		n = append(c->head, n, sizeof c->head, "/");
	for (uint32_t i = 0; i < length && n < sizeof c->head - 100; i++)
		c->head[n++] = path[i];
	n = append(c->head, n, sizeof c->head, " HTTP/1.0\r\nHost: ");
	for (uint32_t i = 0; i < name_length && n < sizeof c->head - 8; i++)
		c->head[n++] = name[i];
	c->head_length = append(c->head, n, sizeof c->head, "\r\n\r\n");
	if (!wait_for(&fetch.done, 10000)) {
		fetch.failure = "no answer";
		tcp_drop(c, 0);
	}
}

static const char *try_fetch(const char *what, uint32_t length)
{
	static const char scheme[] = "http://";
	uint32_t i = 0, port = 80, address;
	if (length > 7 && same(what, scheme, 7))
		what += 7, length -= 7;
	while (i < length && what[i] != ':' && what[i] != '/')
		i++;
	uint32_t name_length = i;
	if (i < length && what[i] == ':') {
		uint32_t from = ++i;
		while (i < length && what[i] != '/')
			i++;
		port = number_parse(what + from, i - from);
	}
	const char *why = "";
	uint32_t begun = jiffies;
	for (uint32_t tries = 0; why && tries < ATTEMPTS && jiffies - begun < PATIENCE; tries++) {
		static volatile int never;
		if (tries)
			wait_for(&never, PAUSE);
		why = dns_resolve(what, name_length, &address);
		if (!why) {
			attempt(address, (uint16_t)port, what, name_length, what + i, length - i);
			why = fetch.failure;
		}
	}
	return why;
}

static void say(const char *what, const char *value, uint32_t length)
{
	print(what);
	put(' ');
	print_some(value, length);
	print(": ");
}

void run_clients(void)
{
	const char *value, *at = 0, *why;
	uint32_t length, address;
	while ((value = next_value(&at, "ping", &length))) {
		int ok = ping(ip_parse(value, length));
		say("ping", value, length);
		print(ok ? "ok\n" : "no answer\n");
	}
	at = 0;
	while ((value = next_value(&at, "resolve", &length))) {
		why = dns_resolve(value, length, &address);
		say("resolve", value, length);
		if (why)
			print("failed "), print(why);
		else
			print_ip(address);
		put('\n');
	}
	at = 0;
	while ((value = next_value(&at, "fetch", &length))) {
		why = try_fetch(value, length);
		say("fetch", value, length);
		if (why) {
			print("failed "), print(why);
		} else {
			for (uint32_t i = 0; i < fetch.length && fetch.text[i] != '\n' && fetch.text[i] != '\r'; i++)
				put(fetch.text[i]);
		}
		put('\n');
	}
}
