# Cross compilation for aarch64 by Debian's gcc-aarch64-linux-gnu; programs run under qemu-user. The libraries lie in
# a folder of their own, made by arm64_sysroot.sh: -DRIVERRUN_ARM64_ROOT=DIR, else build-arm64-root in the tree.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)

set(RIVERRUN_ARM64_ROOT "${CMAKE_CURRENT_LIST_DIR}/../build-arm64-root" CACHE PATH "Debian's arm64 libraries")
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES RIVERRUN_ARM64_ROOT) # a test of the compiler reads this file too
get_filename_component(root "${RIVERRUN_ARM64_ROOT}" ABSOLUTE)
if(NOT EXISTS ${root}/usr/lib/aarch64-linux-gnu/libc.so)
    message(FATAL_ERROR "no arm64 libraries in ${root}: run tests/arm64_sysroot.sh ${root}")
endif()
set(CMAKE_SYSROOT ${root})
set(CMAKE_FIND_ROOT_PATH ${root})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L ${root})

set(lib ${root}/usr/lib/aarch64-linux-gnu)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${root})
set(ENV{PKG_CONFIG_LIBDIR} ${lib}/pkgconfig:${lib}/openblas-openmp/pkgconfig:${root}/usr/share/pkgconfig)
