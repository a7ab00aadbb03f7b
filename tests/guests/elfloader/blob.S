/* blob.S: what runs in 64 bits, where long.ld wants it. */
	.section .long, "aw"
	.incbin "long.bin"

	.section .note.GNU-stack, "", @progbits
