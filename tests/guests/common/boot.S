/*
 * boot.S: how QEMU gets into the kernels here, and the few instructions C cannot say.
 *
 * Both kinds enter in 32-bit protected mode without paging and stay there: that reaches all the memory a test gives
 * a guest, and no page table has to be built. The entries differ only in what the loader leaves in %ebx:
 *
 *   ELF64, PVH:       %ebx = struct hvm_start_info (xen/include/public/arch-x86/hvm/start_info.h)
 *   ELF32, Multiboot: %eax = 0x2badb002, %ebx = struct multiboot_info
 *
 * The two must not be one file: QEMU looks for the Multiboot header first, and refuses it in an ELF64.
 */

#ifdef MULTIBOOT
#define MB_MAGIC 0x1badb002
#define MB_FLAGS 0x00000002 /* tell us about memory */
	.section .header, "a"
	.balign 4
	.long MB_MAGIC, MB_FLAGS, -(MB_MAGIC + MB_FLAGS)

	/* Unikraft keeps its table of constructors under this name; tools know its kernels by it. */
	.section .uk_inittab, "a"
	.balign 4
	.long 0
#else
	.section .note.Xen, "a", @note
	.balign 4
	.long 4, 8, 18 /* name size, value size, XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long _start, 0 /* eight bytes: QEMU reads so many from an ELF64 */
#endif

	.text
	.globl _start
_start:
	cli
	cld
	lgdt gdt_pointer
	ljmp $0x08, $1f
1:	movw $0x10, %cx
	movw %cx, %ds
	movw %cx, %es
	movw %cx, %fs
	movw %cx, %gs
	movw %cx, %ss
	movl $stack_top, %esp
	xorl %ebp, %ebp
	pushl %ebx
	pushl %eax
	call start
2:	cli
	hlt
	jmp 2b

	/* IRQ 0, the timer: count it and acknowledge it. */
	.globl timer_entry
timer_entry:
	pushl %eax
	incl jiffies
	movb $0x20, %al
	outb %al, $0x20
	popl %eax
	iret

	/* Every other line is masked; a spurious interrupt needs no acknowledgement. */
	.globl spurious_entry
spurious_entry:
	iret

	/* An invalid opcode without a handler, or a handler table: the processor gives up, a triple fault. */
	.globl wild
wild:
	lidt no_idt
	ud2

	.section .rodata
	.balign 8
gdt:	.quad 0
	.quad 0x00cf9a000000ffff /* 0x08: code, 4 GiB */
	.quad 0x00cf92000000ffff /* 0x10: data, 4 GiB */
gdt_pointer:
	.word . - gdt - 1
	.long gdt
no_idt:	.word 0
	.long 0

	.bss
	.balign 16
	.skip 16384
stack_top:

	.section .note.GNU-stack, "", @progbits
