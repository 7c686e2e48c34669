# SPDX-License-Identifier: Apache-2.0

# ds_module(shm NEEDS base LIBS ... FILES a.c b.c): the object library ds_shm. NEEDS repeats the
# layer table (tools/check_layers.py reads it). A module without files is no target yet.
define_property(TARGET PROPERTY DS_MODULES BRIEF_DOCS "The modules below this one")
function(ds_module name)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "NEEDS;LIBS;FILES")
  if(NOT ARG_FILES)
    return()
  endif()
  add_library(ds_${name} OBJECT ${ARG_FILES})
  target_link_libraries(ds_${name} PUBLIC ds_options ${ARG_LIBS})
  ds_modules_below(below ${ARG_NEEDS})
  set_target_properties(ds_${name} PROPERTIES DS_MODULES "${below}")
endfunction()

# The modules named and all modules below them, as targets, each once.
function(ds_modules_below ret)
  set(all "")
  foreach(name IN LISTS ARGN)
    if(NOT TARGET ds_${name})
      message(FATAL_ERROR "module '${name}' is needed here, but has no files")
    endif()
    get_target_property(below ds_${name} DS_MODULES)
    list(APPEND all ds_${name} ${below})
  endforeach()
  list(REMOVE_DUPLICATES all)
  set(${ret} ${all} PARENT_SCOPE)
endfunction()

# ds_program(dsworker NEEDS worker FILES main.c): an executable over modules; waits for a module
# that has no files yet.
function(ds_program name)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "NEEDS;LIBS;FILES")
  list(TRANSFORM ARG_NEEDS PREPEND ds_ OUTPUT_VARIABLE needed)
  foreach(target IN LISTS needed)
    if(NOT TARGET ${target} OR NOT ARG_FILES)
      message(STATUS "${name} is not built yet: no files, or none in ${target}")
      return()
    endif()
  endforeach()
  add_executable(${name} ${ARG_FILES})
  ds_modules_below(modules ${ARG_NEEDS})
  target_link_libraries(${name} PRIVATE ds_options ${modules} ${ARG_LIBS})
endfunction()

# Exports from a shared library only what the version script names.
function(ds_export_map target map)
  target_link_options(${target} PRIVATE -Wl,--version-script=${map})
  set_target_properties(${target} PROPERTIES LINK_DEPENDS ${map})
endfunction()
