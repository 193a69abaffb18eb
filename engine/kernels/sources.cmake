# Our part of target engine; included from engine/CMakeLists.txt.
target_sources(engine PRIVATE
    kernels/float_control.c
    kernels/gemm.c
    kernels/gemm_bf16.c
    kernels/kernels.c
    kernels/loss.c
    kernels/onednn.c
    kernels/openblas.c
    kernels/product.c
    kernels/ref.c)

# Only wide.c, bf16.c and int8.c get flags of an instruction set, once a level; the functions it exports end in the level's
# name and are called where x86.c or arm.c has found that the processor has it. -O3 for its unrolled tiles.
function(kernels_add_level level file)
    add_library(kernels_${level} OBJECT kernels/${file})
    target_compile_options(kernels_${level} PRIVATE -O3 -fno-semantic-interposition ${ARGN})
    set_target_properties(kernels_${level} PROPERTIES POSITION_INDEPENDENT_CODE ON) # the shared library takes it too
    target_sources(engine PRIVATE $<TARGET_OBJECTS:kernels_${level}>)
endfunction()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
    target_sources(engine PRIVATE kernels/x86.c)
    set(avx512 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma)
    kernels_add_level(avx512 wide.c ${avx512})
    kernels_add_level(avx2 wide.c -mavx2 -mfma -mf16c)
    kernels_add_level(bf16_avx2 bf16.c -mavx2 -mfma -mf16c)
    kernels_add_level(bf16_avx512 bf16.c ${avx512})
    kernels_add_level(bf16_native bf16.c ${avx512} -mavx512bf16)
    kernels_add_level(int8_avx2 int8.c -mavx2 -mfma -mf16c)
    kernels_add_level(int8_avx512 int8.c ${avx512})
    kernels_add_level(int8_native int8.c ${avx512} -mavx512vnni)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
    target_sources(engine PRIVATE kernels/arm.c)
    kernels_add_level(neon wide.c)
    kernels_add_level(bf16_neon bf16.c)
    kernels_add_level(int8_neon int8.c)
    kernels_add_level(int8_dotprod int8.c -march=armv8.2-a+dotprod)
else()
    target_sources(engine PRIVATE kernels/plain.c)
endif()

# By name: Debian's package file for CMake asks for OpenCL's headers too. gomp stands among the compiler's own
# libraries, which it finds itself.
find_library(DNNL_LIBRARY dnnl REQUIRED)
target_link_libraries(engine PRIVATE ${DNNL_LIBRARY} PkgConfig::OPENBLAS gomp)
