# kernel.mk: how the kernels here are built. A Makefile sets SOURCES, C files of its own directory, and includes this; a rule
# whose recipe is $(call kernel,FLAGS,FORMAT) then makes one.
CC = gcc
LD = ld
OBJCOPY = objcopy
COMMON := $(dir $(lastword $(MAKEFILE_LIST)))
OPTIMIZE ?= -Os
# No SSE, MMX, popcnt or xsave: some hosts' KVM cannot run those, and these guests should run wherever anything does.
CFLAGS = -m32 -march=i686 -mno-mmx -mno-sse -mgeneral-regs-only $(OPTIMIZE) -std=gnu11 -Wall -Wextra -Werror \
	-ffreestanding -fno-builtin -fno-pic -fno-pie -fno-stack-protector -fcf-protection=none \
	-fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns -I$(COMMON)
LDFLAGS = -m elf_i386 -nostdlib -z max-page-size=4096 --build-id=none -T $(COMMON)kernel.ld
SHARED = $(addprefix $(COMMON),boot.S loader.c console.c words.c power.c clock.c)
INPUTS = $(SOURCES) $(SHARED) $(wildcard *.h) $(COMMON)guest.h $(COMMON)kernel.ld $(COMMON)kernel.mk Makefile

# PVH is told by a note, Multiboot by a header. A PVH loader takes the entry from the note, whatever the ELF's class: objcopy
# changes the container, not the code. Work beside the target and rename, so tests that run make at once never meet half a
# kernel.
define kernel
	@mkdir -p $(O)
	set -e; d=$$(mktemp -d $(O)/.kernel.XXXXXX); trap "rm -rf $$d" EXIT; \
	for s in $(SHARED) $(SOURCES); do $(CC) $(CFLAGS) $(1) -c -o $$d/$${s##*/}.o $$s; done; \
	$(LD) $(LDFLAGS) -o $$d/elf32 $$d/*.o; \
	$(OBJCOPY) -O $(2) $$d/elf32 $$d/kernel; \
	mv $$d/kernel $@
endef
