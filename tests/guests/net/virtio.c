/*
 * virtio.c: virtio network cards, by the transports QEMU has where these tests run.
 *
 *   pc, q35   PCI, the legacy registers in I/O space; a card on the root bus has them unless told otherwise
 *   microvm   memory-mapped, legacy (the default there) or modern
 *
 * Each card has two rings, received and to send, and buffers for each, which QEMU uses in order. A card is looked after in poll(); its
 * interrupt does no more than wake us, and is acknowledged at once so that the line falls.
 * Virtual I/O Device (VIRTIO) 1.1: 2.6 rings, 4.1.4.8 and 4.2 transports, 5.1 network card.
 */
#include "net.h"

#define ENTRIES 1024 /* the longest ring; a legacy PCI driver has to take the card's */
#define BUFFERS 256
#define BUFFER 2048
#define PAGE 4096
#define RING_PAGES 8 /* descriptors; the available ring; the used ring on a page of its own */

#define MAGIC 0x74726976
#define MMIO_BASE 0xfeb00000u
#define MMIO_STEP 0x200
#define MMIO_SLOTS 24
#define IOAPIC_VECTOR 48
#define IOAPIC_FIRST 0xfec00000u
#define IOAPIC_SECOND 0xfec10000u
#define APIC_EOI ((volatile uint32_t *)0xfee000b0)

enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8 };
enum { F_MAC = 1u << 5, F_ANY_LAYOUT = 1u << 27, F_HIGH_VERSION_1 = 1u << 0 };
enum { WRITE_ONLY = 2, NO_INTERRUPT = 1, NO_NOTIFY = 1 };
enum { RECEIVE, SEND, QUEUES };

struct descriptor {
	uint64_t address;
	uint32_t length;
	uint16_t flags, next;
};

struct available {
	uint16_t flags, index, ring[ENTRIES];
};

struct used {
	uint16_t flags, index;
	struct {
		uint32_t id, length;
	} ring[ENTRIES];
};

struct queue {
	volatile struct descriptor *descriptors;
	volatile struct available *available;
	volatile struct used *used;
	uint16_t entries; /* a power of two */
	uint16_t buffers; /* as many of them as we use; each has a descriptor */
	uint16_t seen;    /* used entries we have dealt with */
	uint16_t offered; /* our copy of available->index */
	int changed;      /* since the card was last told */
};

struct card {
	uint16_t port;           /* PCI: where its registers are; 0 for memory-mapped */
	volatile uint32_t *mmio; /* 0 for PCI */
	uint32_t header;         /* the bytes in front of a frame */
	struct queue queues[QUEUES];
};

struct nic nics[NICS];
uint32_t nic_count;
static struct card cards[NICS];
static uint8_t rings[NICS][QUEUES][RING_PAGES * PAGE] __attribute__((aligned(PAGE)));
static uint8_t buffers[NICS][QUEUES][BUFFERS][BUFFER];

void card_entry(void);
void ioapic_entry(void);
void card_interrupt(void);

/* Interrupts: acknowledging is all. Called with every line, so that shared ones fall, too. */
void card_interrupt(void)
{
	for (uint32_t i = 0; i < nic_count; i++)
		if (cards[i].mmio)
			cards[i].mmio[0x64 / 4] = cards[i].mmio[0x60 / 4];
		else
			in8(cards[i].port + 0x13);
}

__asm__(".globl card_entry, ioapic_entry\n"
	"card_entry:\n"
	"	pusha\n"
	"	call card_interrupt\n"
	"	movb $0x20, %al\n"
	"	outb %al, $0xa0\n"
	"	outb %al, $0x20\n"
	"	popa\n"
	"	iret\n"
	"ioapic_entry:\n"
	"	pusha\n"
	"	call card_interrupt\n"
	"	movl $0, 0xfee000b0\n" /* APIC_EOI */
	"	popa\n"
	"	iret\n");

/* Registers, by transport. */

static void set_status(struct card *card, uint32_t bits)
{
	if (card->mmio)
		card->mmio[0x70 / 4] = bits ? card->mmio[0x70 / 4] | bits : 0;
	else
		out8(card->port + 0x12, bits ? (uint8_t)(in8(card->port + 0x12) | bits) : 0);
}

static uint8_t config_byte(const struct card *card, uint32_t at)
{
	return card->mmio ? ((volatile uint8_t *)card->mmio)[0x100 + at] : in8((uint16_t)(card->port + 0x14 + at));
}

static void notify(const struct card *card, uint32_t queue)
{
	if (card->mmio)
		card->mmio[0x50 / 4] = queue;
	else
		out16(card->port + 0x10, (uint16_t)queue);
}

/* Settles the features; tells whether the card is modern. */
static int negotiate(struct card *card)
{
	uint32_t wanted = F_MAC | F_ANY_LAYOUT;
	if (!card->mmio) {
		out32(card->port + 0x04, in32(card->port) & wanted);
		return 0;
	}
	int modern = card->mmio[0x04 / 4] > 1;
	card->mmio[0x14 / 4] = 0;
	wanted &= card->mmio[0x10 / 4];
	card->mmio[0x24 / 4] = 0;
	card->mmio[0x20 / 4] = wanted;
	if (modern) {
		card->mmio[0x24 / 4] = 1;
		card->mmio[0x20 / 4] = F_HIGH_VERSION_1;
		set_status(card, FEATURES_OK);
	} else {
		card->mmio[0x28 / 4] = PAGE;
	}
	return modern;
}

static void give_ring(struct card *card, uint32_t which, int modern)
{
	struct queue *q = &card->queues[which];
	uint32_t at = (uint32_t)rings[card - cards][which];
	q->descriptors = (void *)at;
	if (card->mmio) {
		volatile uint32_t *r = card->mmio;
		r[0x30 / 4] = which;
		uint32_t most = r[0x34 / 4];
		q->entries = (uint16_t)(most < ENTRIES ? most : ENTRIES);
		r[0x38 / 4] = q->entries;
	} else {
		out16(card->port + 0x0e, (uint16_t)which);
		q->entries = in16(card->port + 0x0c);
	}
	q->available = (void *)(at + q->entries * sizeof *q->descriptors);
	q->used = (void *)(((uint32_t)&q->available->ring[q->entries + 1] + PAGE - 1) & ~(PAGE - 1u));
	if (card->mmio && modern) {
		volatile uint32_t *r = card->mmio;
		r[0x80 / 4] = at, r[0x84 / 4] = 0;
		r[0x90 / 4] = (uint32_t)q->available, r[0x94 / 4] = 0;
		r[0xa0 / 4] = (uint32_t)q->used, r[0xa4 / 4] = 0;
		r[0x44 / 4] = 1;
	} else if (card->mmio) {
		card->mmio[0x3c / 4] = PAGE;
		card->mmio[0x40 / 4] = at / PAGE;
	} else {
		out32(card->port + 0x08, at / PAGE);
	}
}

static void start_card(uint16_t port, volatile uint32_t *mmio)
{
	uint32_t index = nic_count;
	struct card *card = &cards[index];
	if (index == NICS)
		return;
	card->port = port;
	card->mmio = mmio;
	set_status(card, 0);
	set_status(card, ACKNOWLEDGE | DRIVER);
	int modern = negotiate(card);
	/* The count of merged buffers is there only for modern cards. */
	card->header = modern ? 12 : 10;
	for (uint32_t i = 0; i < 6; i++)
		nics[index].mac[i] = config_byte(card, i);
	for (uint32_t which = 0; which < QUEUES; which++) {
		give_ring(card, which, modern);
		struct queue *q = &card->queues[which];
		if (!q->entries || q->entries > ENTRIES) {
			print_numbered("net: a card with rings of a strange length: ", q->entries);
			return;
		}
		q->buffers = q->entries < BUFFERS ? q->entries : BUFFERS;
		for (uint16_t i = 0; i < q->buffers; i++) {
			q->descriptors[i].address = (uint32_t)buffers[index][which][i];
			q->descriptors[i].length = BUFFER;
			q->descriptors[i].flags = which == RECEIVE ? WRITE_ONLY : 0;
			q->available->ring[i] = i;
		}
	}
	/* What was sent we notice when we need its buffer again. */
	card->queues[SEND].available->flags = NO_INTERRUPT;
	card->queues[RECEIVE].offered = card->queues[RECEIVE].buffers;
	card->queues[RECEIVE].changed = 1;
	set_status(card, DRIVER_OK);
	nic_count++;
}

/* One slot of microvm: first on the command line is last in memory. */
static void find_mmio(void)
{
	int found = 0;
	for (uint32_t i = MMIO_SLOTS; i--;) {
		volatile uint32_t *r = (volatile uint32_t *)(MMIO_BASE + i * MMIO_STEP);
		if (r[0] == MAGIC && r[0x08 / 4] == 1) {
			start_card(0, r);
			found = 1;
		}
	}
	if (!found)
		return;
	/* Which pins they are on differs with what else the machine has: all that can be come to one vector, by edge. */
	set_gate(IOAPIC_VECTOR, ioapic_entry);
	static const uint32_t chips[] = {IOAPIC_FIRST, IOAPIC_SECOND};
	for (uint32_t chip = 0; chip < 2; chip++)
		for (uint32_t pin = chip ? 0 : 16; pin < 24; pin++) {
			volatile uint32_t *select = (volatile uint32_t *)chips[chip], *window = select + 4;
			*select = 0x11 + 2 * pin;
			*window = 0;
			*select = 0x10 + 2 * pin;
			*window = IOAPIC_VECTOR;
		}
}

void find_nics(void)
{
	if (pci(0, 0, 0) == PCI_ABSENT) {
		find_mmio();
		return;
	}
	for (uint32_t device = 0; device < 32; device++) {
		if (pci(device, 0, 0) != 0x10001af4)
			continue;
		uint32_t bar = pci(device, 0, 0x10), irq = pci(device, 0, 0x3c) & 0xff;
		if (!(bar & 1))
			continue;
		/* I/O space and bus mastering. */
		pci_set(device, 0, 0x04, pci(device, 0, 0x04) | 0x5);
		start_card((uint16_t)(bar & ~3u), 0);
		if (irq && irq < 16) {
			set_gate(32 + irq, card_entry);
			open_line(irq);
		}
	}
}

/* The frame that nic_send() would send: to be filled. 0 while all are under way. */
uint8_t *nic_frame(struct nic *nic)
{
	struct card *card = &cards[nic - nics];
	struct queue *q = &card->queues[SEND];
	q->seen = q->used->index;
	if ((uint16_t)(q->offered - q->seen) == q->buffers)
		return 0;
	return buffers[nic - nics][SEND][q->offered % q->buffers] + card->header;
}

void nic_send(struct nic *nic, uint32_t length)
{
	struct card *card = &cards[nic - nics];
	struct queue *q = &card->queues[SEND];
	uint16_t buffer = q->offered % q->buffers;
	/* The least an Ethernet frame is; what is in the rest of the buffer is ours. */
	if (length < 60)
		length = 60;
	q->descriptors[buffer].length = card->header + length;
	q->available->ring[q->offered++ % q->entries] = buffer;
	q->changed = 1;
}

/* Shows the cards what is new for them: once for all frames of a round. */
void nic_flush(void)
{
	for (uint32_t i = 0; i < nic_count; i++)
		for (uint32_t which = 0; which < QUEUES; which++) {
			struct queue *q = &cards[i].queues[which];
			if (!q->changed)
				continue;
			q->changed = 0;
			__asm__ volatile("" : : : "memory");
			q->available->index = q->offered;
			/* The flag is looked at only after that is seen. */
			__asm__ volatile("lock; addl $0, (%%esp)" : : : "memory");
			if (!(q->used->flags & NO_NOTIFY))
				notify(&cards[i], which);
		}
}

/* Deals with all frames that came; tells whether there were any. */
int nic_receive_all(void)
{
	int any = 0;
	for (uint32_t i = 0; i < nic_count; i++) {
		struct queue *q = &cards[i].queues[RECEIVE];
		/* No more than the ring has, so that the other cards get their turn. */
		for (uint32_t n = 0; n < q->buffers && q->seen != q->used->index; n++) {
			uint32_t slot = q->seen % q->entries;
			uint32_t id = q->used->ring[slot].id % q->buffers, length = q->used->ring[slot].length;
			q->seen++;
			if (length > cards[i].header + ETHERNET && length <= BUFFER)
				ethernet_receive(&nics[i], buffers[i][RECEIVE][id] + cards[i].header, length - cards[i].header);
			q->available->ring[q->offered++ % q->entries] = (uint16_t)id;
			q->changed = 1;
			any = 1;
		}
	}
	return any;
}
