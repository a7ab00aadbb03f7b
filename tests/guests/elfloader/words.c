/*
 * words.c: the line as Unikraft reads it (lib/ukargparse, lib/uklibparam): quotes of both kinds keep words together and go;
 * a backslash makes the next character an ordinary one, in double quotes a quote or a backslash alone, in single ones
 * nothing. A list ends where a word ends in a bracket.
 */
#include "long.h"

#define VARIABLES 32

char *environment[VARIABLES + 1];
static size_t variables;

static void add_variable(char *value)
{
	if (variables == VARIABLES)
		give_up("too many variables: ", value);
	environment[variables++] = value;
}

const char *variable(const char *name)
{
	size_t n = length_of(name);
	for (size_t i = 0; i < variables; i++) {
		size_t at = 0;
		while (at < n && environment[i][at] == name[at])
			at++;
		if (at == n && environment[i][at] == '=')
			return environment[i] + at + 1;
	}
	return 0;
}

static int is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r' && c != '\f'); }

static int ends_list(const char *word)
{
	size_t n = length_of(word);
	return n && word[n - 1] == ']';
}

size_t split(char *line, char **words, size_t most)
{
	static char space[8192];
	char *to = space;
	size_t count = 0;
	for (const char *p = line; *p;) {
		char quote = 0, *start = to;
		while (is_space(*p))
			p++;
		for (; *p && (quote || !is_space(*p)); p++) {
			if (*p == '\\' && p[1] && (!quote || (quote == '"' && (p[1] == '"' || p[1] == '\\'))))
				*to++ = *++p;
			else if ((*p == '"' || *p == '\'') && (!quote || quote == *p))
				quote = quote ? 0 : *p;
			else
				*to++ = *p;
		}
		if (to == start)
			continue;
		*to++ = 0;
		if (count == most)
			give_up("too many words: ", start);
		words[count++] = start;
	}
	/* Parameters stand in front of a `--` that is not in the first place. */
	size_t separator = 1;
	while (separator < count && !same(words[separator], "--"))
		separator++;
	static const char name[] = "env.vars=";
	int in_list = 0;
	for (size_t i = 1; separator < count && i < separator; i++) {
		size_t at = 0;
		if (in_list) {
			in_list = !ends_list(words[i]);
			if (in_list)
				add_variable(words[i]);
			continue;
		}
		while (name[at] && words[i][at] == name[at])
			at++;
		if (!name[at] && same(words[i] + at, "["))
			in_list = 1;
		else if (!name[at])
			add_variable(words[i] + at);
	}
	return count;
}
