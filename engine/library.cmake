# The engine as a library of its own, for programs that have none of the other folders: shared and static,
# one header, a pkg-config file. Included from engine/CMakeLists.txt.

set(public_folder ${CMAKE_CURRENT_BINARY_DIR}/public)
set(public_header ${public_folder}/riverrun_engine.h)
set(public_exports ${public_folder}/exports.map)
add_custom_command(
    OUTPUT ${public_header} ${public_exports}
    COMMAND ${CMAKE_COMMAND} -DROOT=${CMAKE_SOURCE_DIR} -DHEADER=${public_header} -DEXPORTS=${public_exports}
        -P ${CMAKE_CURRENT_SOURCE_DIR}/public.cmake
    DEPENDS engine.h ${CMAKE_SOURCE_DIR}/schemas/err.h public.cmake VERBATIM)
add_custom_target(engine_public DEPENDS ${public_header} ${public_exports})

# The objects that exist already: of the engine, without the trainer, and the little of schemas/ that it stands on.
get_target_property(engine_levels engine SOURCES)
list(FILTER engine_levels INCLUDE REGEX "TARGET_OBJECTS:kernels_")
set(engine_objects
    "$<FILTER:$<TARGET_OBJECTS:engine>,EXCLUDE,/train/>"
    ${engine_levels}
    "$<FILTER:$<TARGET_OBJECTS:schemas>,INCLUDE,/(err|bytes|outfile)[.]c>")
foreach(target engine schemas)
    set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON)
    target_compile_options(${target} PRIVATE -fno-semantic-interposition)
endforeach()
set(engine_needs PkgConfig::XXHASH PkgConfig::JANSSON PkgConfig::UTF8PROC PkgConfig::OPENBLAS
    ${DNNL_LIBRARY} gomp Threads::Threads m)

add_library(riverrun_engine SHARED ${engine_objects})
set_target_properties(riverrun_engine PROPERTIES LINKER_LANGUAGE C VERSION ${PROJECT_VERSION}
    SOVERSION ${PROJECT_VERSION_MAJOR} LINK_DEPENDS ${public_exports})
target_link_options(riverrun_engine PRIVATE -Wl,-z,defs -Wl,--as-needed
    -Wl,--version-script=${public_exports})
target_link_libraries(riverrun_engine PRIVATE ${engine_needs})
target_include_directories(riverrun_engine SYSTEM INTERFACE ${public_folder})
add_library(riverrun_engine_static STATIC ${engine_objects})
set_target_properties(riverrun_engine_static PROPERTIES LINKER_LANGUAGE C OUTPUT_NAME riverrun_engine)
add_dependencies(riverrun_engine engine_public)

file(RELATIVE_PATH UP /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix) # the prefix, from the .pc file
set(PRIVATE_LIBRARIES "-ldnnl -lgomp -lpthread -lm")
configure_file(riverrun_engine.pc.in ${public_folder}/riverrun_engine.pc @ONLY)
install(TARGETS riverrun_engine riverrun_engine_static
    LIBRARY ARCHIVE COMPONENT engine)
install(FILES ${public_header} TYPE INCLUDE COMPONENT engine)
install(FILES ${public_folder}/riverrun_engine.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
    COMPONENT engine)
install(FILES example.c DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT engine)

add_executable(engine_example example.c)
target_link_libraries(engine_example PRIVATE riverrun_engine)
