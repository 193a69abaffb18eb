#include "stages_help.h"
int main(void) { return 0; }
