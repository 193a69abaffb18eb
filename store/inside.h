/* store/inside.h: the handle from inside. */
#ifndef STORE_INSIDE_H
#define STORE_INSIDE_H

#include "store/env.h"
#include "store/store.h"

struct env *store_env(struct store *store);

#endif
