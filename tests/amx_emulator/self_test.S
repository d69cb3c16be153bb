// Instruction sequences for tests/test_amx_emulator.py, called through ctypes. Arguments: rdi, rsi, rdx, rcx, r8, r9,
// then the stack.

.macro FUNCTION name
  .globl \name
  .type \name, @function
\name:
.endm

  .text

// product_C_A_B(config, a, a_step, b, b_step, c, c_step): c += a b
.macro PRODUCT c, a, b
FUNCTION product_\c\()_\a\()_\b
  mov 8(%rsp), %rax
  ldtilecfg (%rdi)
  tileloadd (%r9,%rax,1), %tmm\c
  tileloadd (%rsi,%rdx,1), %tmm\a
  tileloadd (%rcx,%r8,1), %tmm\b
  tdpbf16ps %tmm\b, %tmm\a, %tmm\c
  tilestored %tmm\c, (%r9,%rax,1)
  tilerelease
  ret
.endm
PRODUCT 0, 1, 2
PRODUCT 7, 6, 5
PRODUCT 3, 0, 4
PRODUCT 2, 4, 7

// tdpbf16ps of tiles that are not three different ones, which the assembler refuses, after configure(config)
FUNCTION onto_itself
  .byte 0xc4, 0xe2, 0x6a, 0x5c, 0xc9  // tmm1, tmm1, tmm2
  ret
FUNCTION squared
  .byte 0xc4, 0xe2, 0x62, 0x5c, 0xc3  // tmm0, tmm3, tmm3
  ret

// copy_FORM(config, from, step, to): a tile by way of tmm0, read with an operand of each form; 64 bytes a row are written
.macro COPY name
FUNCTION copy_\name
  mov $64, %rax
  ldtilecfg (%rdi)
.endm
.macro DONE
  tilestored %tmm0, (%rcx,%rax,1)
  tilerelease
  ret
.endm
COPY plain
  tileloadd (%rsi,%rdx,1), %tmm0
  DONE
COPY small_displacement
  add $100, %rsi
  tileloadd -100(%rsi,%rdx,1), %tmm0
  DONE
COPY large_displacement
  sub $0x12345, %rsi
  tileloadd 0x12345(%rsi,%rdx,1), %tmm0
  DONE
COPY scale_2
  sar %rdx
  tileloadd (%rsi,%rdx,2), %tmm0
  DONE
COPY scale_8
  sar $3, %rdx
  tileloadd (%rsi,%rdx,8), %tmm0
  DONE
COPY r8_r9
  mov %rsi, %r8
  mov %rdx, %r9
  tileloadd (%r8,%r9,1), %tmm0
  DONE
COPY r10_r11
  lea 8(%rsi), %r10
  mov %rdx, %r11
  tileloadd -8(%r10,%r11,1), %tmm0
  DONE
COPY r12_r13
  push %r12
  push %r13
  mov %rsi, %r12
  mov %rdx, %r13
  tileloadd (%r12,%r13,1), %tmm0
  pop %r13
  pop %r12
  DONE
COPY r13_r12  // r13 as base takes a displacement; r12 as index is one, where 4 alone is none
  push %r12
  push %r13
  mov %rdx, %r12
  mov %rsi, %r13
  tileloadd (%r13,%r12,1), %tmm0
  pop %r13
  pop %r12
  DONE
COPY rbp_rbx
  push %rbp
  push %rbx
  mov %rsi, %rbp
  mov %rdx, %rbx
  tileloadd (%rbp,%rbx,1), %tmm0
  pop %rbx
  pop %rbp
  DONE
COPY r14_r15
  push %r14
  push %r15
  mov %rsi, %r14
  mov %rdx, %r15
  tileloadd (%r14,%r15,1), %tmm0
  pop %r15
  pop %r14
  DONE
COPY rdi
  mov %rsi, %rdi
  tileloadd (%rdi,%rdx,1), %tmm0
  DONE
COPY no_index  // every row is the first
  tileloadd (%rsi), %tmm0
  DONE

// configure_FORM(config, to): the first 64 bytes of a tile tmm0 of zeros, after ldtilecfg with an operand of each form
.macro CONFIGURED
  tilezero %tmm0
  tilestored %tmm0, (%rsi)
  tilerelease
  ret
.endm
FUNCTION configure_stack
  sub $72, %rsp
  vmovups (%rdi), %zmm0
  vmovups %zmm0, (%rsp)
  ldtilecfg (%rsp)
  add $72, %rsp
  CONFIGURED
FUNCTION configure_index
  mov $-16, %rdx
  lea 69(%rdi), %r9
  ldtilecfg -5(%r9,%rdx,4)
  CONFIGURED
FUNCTION configure_relative
  ldtilecfg one_tile(%rip)
  CONFIGURED

// One instruction each, so that a test can stop between them.
FUNCTION configure
  ldtilecfg (%rdi)
  ret
FUNCTION release
  tilerelease
  ret
FUNCTION zero
  tilezero %tmm0
  ret
FUNCTION zero_5
  tilezero %tmm5
  ret
FUNCTION load  // (from, step)
  tileloadd (%rdi,%rsi,1), %tmm0
  ret
FUNCTION store  // (to, step)
  tilestored %tmm0, (%rdi,%rsi,1)
  ret
FUNCTION undefined
  ud2
  ret

// undisturbed(config, memory): 0 if all registers, the flags, MXCSR and the bytes below the stack keep their values.
FUNCTION undisturbed
  push %rbx
  push %rbp
  push %r12
  push %r13
  push %r14
  push %r15
  sub $8, %rsp
  stmxcsr (%rsp)
  mov (%rsp), %r15d
  movl $0x7fa0, 4(%rsp)
  ldmxcsr 4(%rsp)  // towards zero
  mov $64, %r8
  mov $0x5a5a5a5a, %eax
  vpbroadcastd %eax, %zmm0
  vpaddd %zmm0, %zmm0, %zmm17
  vpaddd %zmm17, %zmm0, %zmm31
  kmovq %rax, %k5
  mov %rax, -8(%rsp)
  mov %rax, -128(%rsp)
  mov $0x1111, %rbx
  mov $0x2222, %r14
  stc
  ldtilecfg (%rdi)
  tileloadd (%rsi,%r8,1), %tmm0
  tilezero %tmm1
  tilezero %tmm2
  tdpbf16ps %tmm2, %tmm1, %tmm0
  tilestored %tmm0, (%rsi,%r8,1)
  tilerelease
  jnc 1f
  cmp $0x1111, %rbx
  jne 1f
  cmp $0x2222, %r14
  jne 1f
  cmp $0x5a5a5a5a, %rax
  jne 1f
  cmp %rax, -8(%rsp)
  jne 1f
  cmp %rax, -128(%rsp)
  jne 1f
  kmovq %k5, %rcx
  cmp %rax, %rcx
  jne 1f
  vpbroadcastd %eax, %zmm3
  vpcmpeqd %zmm0, %zmm3, %k1
  vpaddd %zmm3, %zmm3, %zmm3
  vpcmpeqd %zmm17, %zmm3, %k2
  vpaddd %zmm0, %zmm3, %zmm3
  vpcmpeqd %zmm31, %zmm3, %k3
  kandw %k1, %k2, %k1
  kandw %k1, %k3, %k1
  kmovw %k1, %ecx
  cmp $0xffff, %ecx
  jne 1f
  stmxcsr 4(%rsp)
  cmpl $0x7fa0, 4(%rsp)
  jne 1f
  xor %eax, %eax
  jmp 2f
1:
  mov $1, %eax
2:
  mov %r15d, (%rsp)
  ldmxcsr (%rsp)
  add $8, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbp
  pop %rbx
  ret

  .section .rodata
one_tile:  // tmm0 of one row of 64 bytes
  .byte 1
  .zero 15
  .short 64
  .zero 30
  .byte 1
  .zero 15

  .section .note.GNU-stack, "", @progbits
