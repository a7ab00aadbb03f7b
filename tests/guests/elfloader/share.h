/* share.h: share.c's one function. */
#ifndef SHARE_H
#define SHARE_H

void read_share(void);

#endif
