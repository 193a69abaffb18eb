# cmake -DROOT= -DHEADER= -DEXPORTS= -P public.cmake: engine.h and what it includes as one header that stands
# alone, and the list of the functions that it declares, which are all that the shared library shows.
file(READ ${ROOT}/schemas/err.h err)
file(READ ${ROOT}/engine/engine.h engine)

# Between two texts, the second not included; both must be there.
function(between text from to out)
    string(FIND "${text}" "${from}" begin)
    string(FIND "${text}" "${to}" end)
    if(begin LESS 0 OR end LESS begin)
        message(FATAL_ERROR "'${from}' and then '${to}' are not to be found: the header has changed")
    endif()
    math(EXPR length "${end} - ${begin}")
    string(SUBSTRING "${text}" ${begin} ${length} part)
    set(${out} "${part}" PARENT_SCOPE)
endfunction()

# Of err.h what a caller needs: codes, struct err, words and status; not how we fill it.
between("${err}" "#define MUST_CHECK" "/* Fill *err" codes)
between("${err}" "/* The exit status" "/* A broken invariant" words)
between("${engine}" "/* engine/engine.h" "#ifndef ENGINE_ENGINE_H" about)
between("${engine}" "struct engine;" "#endif\n" calls)

string(REPLACE "engine/engine.h:" "riverrun_engine.h:" about "${about}")
set(header "${about}#ifndef RIVERRUN_ENGINE_H
#define RIVERRUN_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern \"C\" {
#endif

${codes}${words}${calls}#ifdef __cplusplus
}
#endif

#endif
")
string(REPLACE "MUST_CHECK" "RIVERRUN_MUST_CHECK" header "${header}")
file(WRITE ${HEADER} "${header}")

# A word before a parenthesis outside of comments is a function of ours, or an attribute.
string(REGEX REPLACE "/\\*[^*]*\\*+([^/*][^*]*\\*+)*/" "" code "${words}${calls}")
string(REGEX MATCHALL "(engine|sampler|tokenizer|err)_[a-z0-9_]+\\(" found "${code}")
list(TRANSFORM found REPLACE "\\(" "")
list(REMOVE_DUPLICATES found)
list(JOIN found ";\n    " names)
file(WRITE ${EXPORTS} "{\nglobal:\n    ${names};\nlocal:\n    *;\n};\n")
