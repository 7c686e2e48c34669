# SPDX-License-Identifier: Apache-2.0

# Backstop only: the runner in tests/harness ends a test that takes too long. ThreadSanitizer makes the
# longest of them 20 times slower.
set(DS_TEST_TIMEOUT_S 600)
if(DS_SANITIZE)
  set(DS_TEST_TIMEOUT_S 1800)
endif()

# ds_unit_test(shm segment ring): builds tests/unit/shm/test_segment.c and test_ring.c into one
# program each, linked with module shm and what lies below it. A module without files is skipped.
function(ds_unit_test module)
  if(NOT TARGET ds_${module})
    return()
  endif()
  ds_modules_below(modules ${module})
  foreach(file IN LISTS ARGN)
    set(name test_${module}_${file})
    add_executable(${name} ${module}/test_${file}.c)
    target_link_libraries(${name} PRIVATE ds_test ${modules})
    add_test(NAME unit/${module}/${file} COMMAND ${name})
    set_tests_properties(unit/${module}/${file} PROPERTIES
      LABELS unit TIMEOUT ${DS_TEST_TIMEOUT_S} SKIP_RETURN_CODE 77)
  endforeach()
endfunction()

# ds_fuzz_test(shm ring 1000): tests/fuzz/fuzz_ring.c over module shm. Without DS_FUZZ the test
# replays tests/fuzz/corpus/ring. With it the program is libFuzzer's, and the test goes on from there
# to so many runs: always with the same inputs, for they are counted and not timed.
function(ds_fuzz_test module file runs)
  if(NOT TARGET ds_${module})
    return()
  endif()
  ds_modules_below(modules ${module})
  add_executable(fuzz_${file} fuzz_${file}.c)
  target_link_libraries(fuzz_${file} PRIVATE ${modules})
  set(corpus ${CMAKE_CURRENT_SOURCE_DIR}/corpus/${file})
  set(args ${corpus})
  if(DS_FUZZ)
    target_link_options(fuzz_${file} PRIVATE -fsanitize=fuzzer)
    file(GLOB seeds CONFIGURE_DEPENDS ${corpus}/*)
    list(JOIN seeds "," seeds) # files: into a folder it would write what it finds
    set(args -seed=1 -runs=${runs} -print_final_stats=1 -seed_inputs=${seeds})
  else()
    target_sources(fuzz_${file} PRIVATE ${PROJECT_SOURCE_DIR}/tests/harness/fuzz_replay.c)
  endif()
  add_test(NAME fuzz/${file} COMMAND fuzz_${file} ${args})
  set_tests_properties(fuzz/${file} PROPERTIES LABELS fuzz TIMEOUT ${DS_TEST_TIMEOUT_S})
endfunction()
