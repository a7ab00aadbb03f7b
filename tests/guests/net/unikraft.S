/*
 * unikraft.S: what a Unikraft kernel tells of itself, for tools that look: the libraries in it and its version, and the
 * parameters it takes. Formats: Unikraft's include/uk/libid/info.h and include/uk/libparam.h. Its kernels for QEMU are
 * 64-bit code in a 32-bit file, so pointers and sizes are eight bytes.
 */
#ifdef UNIKRAFT

#if UNIKRAFT == 17
#define VERSION "0.17.0"
#define CODENAME "Calypso"
#else
#define VERSION "0.15.0"
#define CODENAME "Pandora"
#endif

#define LAYOUT 1
#define LIBNAME 0x0001
#define UKVERSION 0x0006
#define UKCODENAME 0x0008
#define COMPILER 0x000b
#define COMPILEOPTS 0x000f

	/* A header of six bytes, then records, each of six bytes and its data; lengths have the header in. */
	.macro header
3:	.long 4f - 3b
	.short LAYOUT
	.endm

	.macro record type, data:vararg
1:	.short \type
	.long 2f - 1b
	\data
2:
	.endm

	.macro library name
	header
	record LIBNAME, .asciz "\name"
	record UKVERSION, .asciz VERSION
	record COMPILEOPTS, .long 2
4:
	.endm

	.section .uk_libinfo, "a"
	library "libkvmplat"
#ifdef ELFLOADER
	library "appelfloader"
	library "libelf"
	library "libposix_environ"
	library "libuklibparam"
#if ELFLOADER == 1
	library "libvfscore"
	library "libramfs"
	library "libukcpio"
#elif ELFLOADER == 3
	library "libvfscore"
	library "lib9pfs"
#endif
#else
	library "libvirtio_net"
	library "libuknetdev"
	library "liblwip"
	library "libvfscore"
	library "lib9pfs"
	library "libramfs"
	library "libukcpio"
	library "libposix_environ"
	library "libuklibparam"
#endif
	/* That of the whole kernel is the one without a name. */
	header
	record UKVERSION, .asciz VERSION
	record UKCODENAME, .asciz CODENAME
	record COMPILER, .asciz "gcc"
4:

#define CHARP 12

	/* Name, description, type, how many, where, the parser's own. */
	.macro descriptor name, count
	.section .rodata.strings, "a"
6:	.asciz "\name"
	.previous
	.long 6b, 0, 0, 0, CHARP, 0, \count, 0, 0, 0, 0, 0
	.endm

#if UNIKRAFT == 17
	.section .uk_libparam_params, "a"
	/* One section for all, of descriptors behind their prefixes. */
	.macro parameter prefix, name, count
	.section .rodata.strings, "a"
5:	.asciz "\prefix"
	.previous
	.balign 8
	.long 5b, 0
	descriptor \name, \count
	.endm

#ifndef ELFLOADER
	parameter netdev, ip, 8
#endif
#if !defined(ELFLOADER) || ELFLOADER != 2
	parameter vfs, fstab, 16
#endif
	parameter env, vars, 32
#else
	/* A section for each library, of pointers to descriptors; the prefix is the library's, and in its code alone. */
	.macro parameter library, name
	.section .rodata.parameters, "a"
	.balign 8
7:	descriptor \name, 1
	.section .uk_libparam_params_\library, "a"
	.balign 8
	.long 7b, 0
	.endm

	parameter libuknetdev, ipv4_addr
	parameter libuknetdev, ipv4_gw_addr
	parameter libuknetdev, ipv4_subnet_mask
	parameter libvfscore, rootfs
	parameter libvfscore, rootdev
#endif

#endif

	.section .note.GNU-stack, "", @progbits
