/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Where a slot's clients sit now. */
#ifndef DLMP_PLACE_H
#define DLMP_PLACE_H

/* An unusable port counts as none at all only when there is a usable backup: with every port
 * failed the traffic goes on where it went. */
static __always_inline __u32 port_of(const struct dlmp_slot *slot, bool *backup)
{
	struct dlmp_port *port = at(&ports, slot->port);
	struct dlmp_port *other;

	*backup = false;
	if (port && port->flags & DLMP_PORT_USABLE)
		return slot->port;
	other = at(&ports, slot->backup);
	if (other && other->flags & DLMP_PORT_USABLE) {
		*backup = true;
		return slot->backup;
	}
	return slot->port;
}

#endif
