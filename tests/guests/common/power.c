/* power.c: the power button and the ways out, on a PC's chipset or on microvm's event device. */
#include "guest.h"

/* The event device of a machine without PCI (microvm): hw/acpi/generic_event_device.h. */
#define GED_EVENT ((volatile uint32_t *)0xfea00000)
#define GED_SLEEP ((volatile uint8_t *)0xfea00200)
#define GED_RESET ((volatile uint8_t *)0xfea00202)
#define GED_EVENT_POWER 0x2
#define GED_SLEEP_S5 (0x20 | 5 << 2)
#define GED_RESET_NOW 0x42

/* The fixed registers of a PC's power management, as offsets from its port base: ACPI 4.8.3. */
#define PM1_STATUS 0
#define PM1_ENABLE 2
#define PM1_CONTROL 4
#define PM1_POWER_BUTTON (1 << 8)
#define PM1_SLEEP_S5 (1 << 13) /* sleep type 0 is S5 on both of QEMU's chipsets */

#define DEBUG_EXIT_PORT 0x501

static uint32_t pm_base; /* 0: no PC chipset, so the event device */

uint32_t pci(uint32_t device, uint32_t function, uint32_t reg)
{
	out32(0xcf8, 0x80000000u | device << 11 | function << 8 | reg);
	return in32(0xcfc);
}

void pci_set(uint32_t device, uint32_t function, uint32_t reg, uint32_t value)
{
	out32(0xcf8, 0x80000000u | device << 11 | function << 8 | reg);
	out32(0xcfc, value);
}

/* Where power management is, switched on if the firmware did not get to it. */
void find_power(void)
{
	uint32_t device, function, enable, bit;
	if (pci(0, 0, 0) == PCI_ABSENT)
		return;
	if (pci(31, 0, 0) == 0x29188086) { /* ICH9: q35 */
		device = 31, function = 0, enable = 0x44, bit = 0x80;
	} else if (pci(1, 3, 0) == 0x71138086) { /* PIIX4: pc */
		device = 1, function = 3, enable = 0x80, bit = 0x01;
	} else {
		return;
	}
	if (!(pci(device, function, 0x40) & 0xff80))
		pci_set(device, function, 0x40, 0x600 | 1);
	if (!(pci(device, function, enable) & bit))
		pci_set(device, function, enable, pci(device, function, enable) | bit);
	pm_base = pci(device, function, 0x40) & 0xff80;
	/* QEMU only remembers a press of the button once somebody has asked to know of it. */
	out16((uint16_t)(pm_base + PM1_STATUS), PM1_POWER_BUTTON);
	out16((uint16_t)(pm_base + PM1_ENABLE), PM1_POWER_BUTTON);
}

int power_pressed(void)
{
	if (pm_base)
		return in16((uint16_t)(pm_base + PM1_STATUS)) & PM1_POWER_BUTTON;
	/* Reading takes the event away. Where there is no such device either, nothing or all ones is read. */
	uint32_t event = *GED_EVENT;
	return event != 0xffffffffu && (event & GED_EVENT_POWER);
}

void stop(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

void power_off(void)
{
	if (pm_base)
		out16((uint16_t)(pm_base + PM1_CONTROL), PM1_SLEEP_S5);
	else
		*GED_SLEEP = GED_SLEEP_S5;
	stop();
}

void reset(void)
{
	if (pm_base)
		out8(0xcf9, 0x06), out8(0x64, 0xfe); /* pc has no reset port: its keyboard controller does it */
	else
		*GED_RESET = GED_RESET_NOW;
	stop();
}

/* Through isa-debug-exit. Newer QEMU lets us run on for a moment; with no such device, for longer. */
void debug_exit(uint32_t code)
{
	out32(DEBUG_EXIT_PORT, code);
}
