# Our part of target engine; included from engine/CMakeLists.txt.
target_sources(engine PRIVATE
    train/corpus.c
    train/init.c
    train/learn.c
    train/pool.c
    train/saved.c
    train/shape.c
    train/train.c
    train/weights.c)

# What computes is built once a level from the same sources; the functions it exports end in the level's
# name. Multiplications and additions may be contracted here: a training promises its bits on one
# machine, not f32-1.
set(TRAIN_LEVEL_SOURCES attention.c layer.c mix.c net.c scan.c)
list(TRANSFORM TRAIN_LEVEL_SOURCES PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/train/)
set(TRAIN_LEVEL_FLAGS -O3 -ffp-contract=fast -Wno-psabi -Wno-pass-failed)
function(train_add_level level)
    add_library(train_${level} OBJECT ${TRAIN_LEVEL_SOURCES})
    target_compile_definitions(train_${level} PRIVATE NET_LEVEL=${level})
    target_compile_options(train_${level} PRIVATE ${TRAIN_LEVEL_FLAGS} ${ARGN})
    if(NOT level STREQUAL f64)
        target_sources(engine PRIVATE $<TARGET_OBJECTS:train_${level}>)
    endif()
endfunction()
train_add_level(plain)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
    train_add_level(avx512 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma)
    train_add_level(avx2 -mavx2 -mfma)
endif()
# The gradient check takes it.
train_add_level(f64 -DNET_DOUBLE)
