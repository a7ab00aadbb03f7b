/* console.c: COM1, as the machine left it: QEMU's needs no setting up. */
#include "guest.h"

#define COM1 0x3f8

void put(char c)
{
	while (!(in8(COM1 + 5) & 0x20))
		;
	out8(COM1, (uint8_t)c);
}

void print(const char *s)
{
	while (*s)
		put(*s++);
}

void print_some(const char *s, uint32_t length)
{
	while (length--)
		put(*s++);
}

void print_number(uint32_t n)
{
	char digits[10];
	int i = 0;
	do
		digits[i++] = (char)('0' + n % 10);
	while (n /= 10);
	while (i)
		put(digits[--i]);
}

void print_hex(uint32_t n)
{
	for (int shift = 28; shift >= 0; shift -= 4)
		put("0123456789abcdef"[n >> shift & 15]);
}

void print_numbered(const char *what, uint32_t n)
{
	print(what);
	print_number(n);
	put('\n');
}
