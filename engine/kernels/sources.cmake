# Our part of target engine; included from engine/CMakeLists.txt.
target_sources(engine PRIVATE
    kernels/float_control.c)
