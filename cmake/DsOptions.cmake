# SPDX-License-Identifier: Apache-2.0
# ds_options: what every target of ours is compiled and linked with.
include(CheckCCompilerFlag)

add_library(ds_warnings INTERFACE)
target_compile_options(ds_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes
  $<IF:$<C_COMPILER_ID:GNU>,-Wcast-align=strict,-Wcast-align>
  -Wpointer-arith -Wundef -Wvla -Wformat=2 -Wredundant-decls
  $<$<BOOL:${DS_WERROR}>:-Werror>)

add_library(ds_sanitizers INTERFACE)
if(DS_SANITIZE)
  set(flags -fsanitize=${DS_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_compile_options(ds_sanitizers INTERFACE ${flags})
  target_link_options(ds_sanitizers INTERFACE ${flags})
endif()
if(DS_COVERAGE)
  target_compile_options(ds_sanitizers INTERFACE --coverage)
  target_link_options(ds_sanitizers INTERFACE --coverage)
endif()

add_library(ds_hardening INTERFACE)
if(NOT DS_SANITIZE)
  foreach(flag -fstack-protector-strong -fstack-clash-protection -fcf-protection)
    string(MAKE_C_IDENTIFIER "DS_HAVE${flag}" have)
    check_c_compiler_flag(${flag} ${have})
    if(${have})
      target_compile_options(ds_hardening INTERFACE ${flag})
    endif()
  endforeach()
  target_compile_options(ds_hardening INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
  target_link_options(ds_hardening INTERFACE
    -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,--no-undefined)
endif()

add_library(ds_options INTERFACE)
target_compile_definitions(ds_options INTERFACE
  _GNU_SOURCE DS_VERSION="${PROJECT_VERSION}" $<$<BOOL:${DS_FAILPOINTS}>:DS_FAILPOINTS=1>)
target_compile_options(ds_options INTERFACE $<$<CONFIG:Debug>:-Og>)
target_include_directories(ds_options INTERFACE
  ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
target_include_directories(ds_options SYSTEM INTERFACE ${XXHASH_INCLUDE_DIR})
target_link_libraries(ds_options INTERFACE
  ds_warnings ds_sanitizers ds_hardening Threads::Threads)
