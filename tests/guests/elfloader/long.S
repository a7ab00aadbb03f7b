/* long.S: the first instruction in 64 bits, how a program calls us, and how it is begun. */
	.section .first, "ax"
	.globl long_entry
long_entry:
	movw $0x10, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	xorl %eax, %eax
	movw %ax, %fs
	movw %ax, %gs
	movl %edi, %edi
	movq $stack_top, %rsp
	fninit
	call main64
1:	cli
	hlt
	jmp 1b

	.text
	/* From the instruction syscall: where to go back is in %rcx, the flags are in %r11; all but these and %rax stay. */
	.globl system_entry
system_entry:
	movq %rsp, program_stack
	movq $system_stack_top, %rsp
	pushq %rcx
	pushq %r11
	pushq %r9
	pushq %r8
	pushq %r10
	pushq %rdx
	pushq %rsi
	pushq %rdi
	pushq %rax
	movq %rsp, %rdi
	subq $8, %rsp
	call system_call
	addq $16, %rsp
	popq %rdi
	popq %rsi
	popq %rdx
	popq %r10
	popq %r8
	popq %r9
	popq %r11
	popq %rcx
	pushq %r11
	popfq
	movq program_stack, %rsp
	jmp *%rcx

	/* jump(entry, stack) */
	.globl jump
jump:
	movq %rsi, %rsp
	xorl %edx, %edx
	xorl %ebp, %ebp
	jmp *%rdi

	.bss
	.balign 16
	.skip 65536
stack_top:
	.skip 65536
system_stack_top:
program_stack:
	.skip 8

	.section .note.GNU-stack, "", @progbits
