/*
 * http.c: the server on port 80, HTTP/1.0: a request, its answer, the end.
 *
 *   GET /          hello from HOST
 *   GET /cmdline   the kernel's command line
 *   GET /bytes/N   N bytes, as fast as it goes
 *   GET /health    200 when it is well, 503 when it is ill, nothing when it is deaf
 *   GET /mood/M    makes it well, ill or deaf; a word of the command line does so, too
 *   POST, PUT      takes a body of any length and says how long it was
 */
#include "tcp.h"

static enum { WELL, ILL, DEAF } mood;

/* What the command line says of how it is. */
void http_start(void) { mood = word("ill", 0) ? ILL : word("deaf", 0) ? DEAF : WELL; }

static int begins(const char *text, const char *with)
{
	while (*with && *text == *with)
		text++, with++;
	return !*with;
}

static void answer(struct tcp *c, const char *status, const char *body, uint32_t length)
{
	uint32_t at = append(c->head, 0, sizeof c->head, "HTTP/1.0 ");
	at = append(c->head, at, sizeof c->head, status);
	at = append(c->head, at, sizeof c->head, "\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: ");
	at = append_number(c->head, at, sizeof c->head, length);
	c->head_length = append(c->head, at, sizeof c->head, "\r\n\r\n");
	c->body = body;
	c->body_length = length;
	c->complete = 1;
}

/* An answer that is one line, which may be gone when we return. */
static void answer_line(struct tcp *c, const char *status, const char *text)
{
	char body[256];
	uint32_t n = append(body, 0, sizeof body - 1, text);
	body[n++] = '\n';
	answer(c, status, body, n);
	copy(c->head + c->head_length, body, n);
	c->head_length += n;
	c->body_length = 0;
}

static void health(struct tcp *c)
{
	if (mood == DEAF)
		return;
	answer_line(c, mood == ILL ? "503 Service Unavailable" : "200 OK", mood == ILL ? "ill" : "well");
}

static void set_mood(struct tcp *c, const char *to)
{
	mood = begins(to, "ill ") ? ILL : begins(to, "deaf ") ? DEAF : WELL;
	answer_line(c, "200 OK", "so be it");
}

static void get(struct tcp *c, const char *path)
{
	static char text[sizeof line + 1];
	uint32_t n = 0;
	if (begins(path, "/ ") || begins(path, "/index.html ")) {
		char hello[NAME + 16];
		append(hello, append(hello, 0, sizeof hello, "hello from "), sizeof hello, host);
		answer_line(c, "200 OK", hello);
	} else if (begins(path, "/cmdline ")) {
		n = append(text, 0, sizeof text - 1, line);
		text[n++] = '\n';
		answer(c, "200 OK", text, n);
	} else if (begins(path, "/health ")) {
		health(c);
	} else if (begins(path, "/mood/")) {
		set_mood(c, path + 6);
	} else if (begins(path, "/bytes/")) {
		path += 7;
		while (path[n] >= '0' && path[n] <= '9')
			n++;
		answer(c, "200 OK", 0, number_parse(path, n));
	} else {
		answer_line(c, "404 Not Found", "there is no such thing");
	}
}

/* Where the header ends that is in the connection's text, or 0. */
static uint32_t header_end(const struct tcp *c)
{
	for (uint32_t i = 3; i < c->text_length; i++)
		if (same(c->text + i - 3, "\r\n\r\n", 4))
			return i + 1;
	return 0;
}

static uint32_t content_length(const char *text)
{
	/* Names of headers have no case. */
	static const char name[] = "content-length:";
	for (; *text; text++) {
		uint32_t i = 0, digits = 0;
		while (name[i] && (text[i] | 0x20) == (name[i] | 0x20))
			i++;
		if (name[i])
			continue;
		while (text[i] == ' ')
			i++;
		while (text[i + digits] >= '0' && text[i + digits] <= '9')
			digits++;
		return number_parse(text + i, digits);
	}
	return 0;
}

/* `counter` is what is left of a body; `text_length` is past the text's size while there is one. */
static void received(struct tcp *c, const uint8_t *bytes, uint32_t length)
{
	if (c->complete)
		return;
	if (c->text_length < sizeof c->text) {
		uint32_t room = sizeof c->text - 1 - c->text_length, n = length < room ? length : room;
		copy(c->text + c->text_length, bytes, n);
		c->text_length += n;
		c->text[c->text_length] = 0;
		uint32_t end = header_end(c);
		if (!end && n < length) {
			answer_line(c, "431 Request Header Fields Too Large", "too long");
			return;
		}
		if (!end)
			return;
		if (begins(c->text, "GET ")) {
			get(c, c->text + 4);
			return;
		}
		if (!begins(c->text, "POST ") && !begins(c->text, "PUT ")) {
			answer_line(c, "405 Method Not Allowed", "this is not done here");
			return;
		}
		c->text[end] = 0;
		c->counter = content_length(c->text);
		/* How much of what came now is the body's. */
		uint32_t head = end - (c->text_length - n);
		length -= head;
		c->text_length = sizeof c->text;
		c->text[0] = 0;
		append_number(c->text, 0, 16, c->counter);
	}
	c->counter -= length < c->counter ? length : c->counter;
	if (!c->counter) {
		char said[64];
		append(said, append(said, 0, sizeof said, "received "), sizeof said, c->text);
		answer_line(c, "200 OK", said);
	}
}

static void ended(struct tcp *c) { c->complete = 1; }

static void failed(struct tcp *c, const char *why)
{
	(void)c;
	(void)why;
}

const struct tcp_user http_user = {received, ended, failed};
